import { Task } from "@vfiokit/lockdep";
import { expect, it } from "vitest";
import {
  definePciDevice,
  IrqIndex,
  mmio,
  msi,
  msix,
  msixTable,
  PciDevice,
  RegionIndex,
  sections,
  type FunctionHost,
} from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { PciCommand, PciHeader, PciMsix, PciMsixFlags, PciStatus } from "@vfiokit/core/pci";

// Everything of an interrupt that a guest can have set, or that waits for it, is there after a migration.

const BAR_MSIX = 4;
const task = new Task("test");

class Bench {
  readonly device: PciDevice;
  host!: FunctionHost;

  constructor() {
    this.device = new PciDevice(
      definePciDevice({
        name: "irqs",
        id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
        bars: [mmio({ size: 0x1000 }), msixTable({ vectors: 4, slot: BAR_MSIX })],
        interruptPin: "A",
        capabilities: [msi({ vectors: 4, perVectorMask: true }), msix({ vectors: 4, bar: BAR_MSIX })],
        create: (host) => {
          this.host = host;
          return { read: () => 0, write: () => undefined, reset: () => undefined, state: sections({}) };
        },
      }),
    );
  }

  /** The driver has switched memory and bus mastering on. */
  async driver(): Promise<this> {
    await this.config(PciHeader.COMMAND, PciCommand.MEMORY | PciCommand.MASTER, 2);
    return this;
  }

  async config(offset: number, value: number, size: number): Promise<void> {
    await this.write(RegionIndex.CONFIG, offset, value, size);
  }

  async write(region: number, offset: number, value: number, size: number): Promise<void> {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    await this.device.writeRegion(task, region, offset, size, bytes, 0);
  }

  /** Vector Control of an entry of the MSI-X table, written by the guest. */
  maskMsix(vector: number, masked: boolean): Promise<void> {
    return this.write(BAR_MSIX, 16 * vector + 12, masked ? 1 : 0, 4);
  }

  get msiMask(): number {
    const { offset, registers } = this.device.capabilities.msi!;
    return offset + registers.mask;
  }

  get msixFlags(): number {
    return this.device.capabilities.msix!.offset + PciMsix.FLAGS;
  }

  /** Vectors that were signalled, in order, from now on. */
  listen(index: number, count: number): number[] {
    const signals: number[] = [];
    const triggers = Array.from({ length: count }, (_, vector) => ({
      signal: () => void signals.push(vector),
      close: () => undefined,
    }));
    void this.device.setIrqs(task, { index, start: 0, count, action: "trigger", data: { triggers } });
    return signals;
  }

  /** Moves its state to another one, which then runs. */
  async moveTo(to: Bench): Promise<void> {
    const [source, target] = [this.device.migration!, to.device.migration!];
    await target.setState(task, MigrationState.RESUMING);
    await source.setState(task, MigrationState.STOP_COPY);
    const buffer = new Uint8Array(4096);
    for (let count; (count = await source.readData(task, buffer)) > 0;)
      await target.writeData(task, buffer.subarray(0, count));
    await target.setState(task, MigrationState.RUNNING);
  }
}

const benches = async () => [await new Bench().driver(), new Bench()] as const;

it("a vector that the guest masked in the MSI-X table, 1 over the power-on 1: stays masked, and goes out on unmask", async () => {
  const [from, to] = await benches();
  await from.maskMsix(2, true);
  const signals = to.listen(IrqIndex.MSIX, 4);
  await from.moveTo(to);
  to.host.msix.raise(2);
  to.host.msix.raise(1);
  expect(signals).toEqual([1]);
  await to.maskMsix(2, false);
  expect(signals).toEqual([1, 2]);
});

it("MSI-X pending bits: in the PBA, and delivered when the mask goes", async () => {
  const [from, to] = await benches();
  await from.maskMsix(3, true);
  from.listen(IrqIndex.MSIX, 4);
  from.host.msix.raise(3);
  const signals = to.listen(IrqIndex.MSIX, 4);
  await from.moveTo(to);
  const pba = new Uint8Array(4);
  await to.device.readRegion(task, BAR_MSIX, to.device.capabilities.msix!.pba.offset, 4, pba, 0);
  expect(pba[0]).toBe(1 << 3);
  expect(signals).toEqual([]);
  await to.maskMsix(3, false);
  expect(signals).toEqual([3]);
});

it("MSI-X Function Mask: holds every vector back, until it is cleared", async () => {
  const [from, to] = await benches();
  await from.config(from.msixFlags, PciMsixFlags.ENABLE | PciMsixFlags.MASKALL, 2);
  const signals = to.listen(IrqIndex.MSIX, 4);
  await from.moveTo(to);
  to.host.msix.raise(0);
  expect(signals).toEqual([]);
  await to.config(to.msixFlags, PciMsixFlags.ENABLE, 2);
  expect(signals).toEqual([0]);
});

it("MSI Mask Bits and Pending Bits: what was pending goes out once its bit is cleared", async () => {
  const [from, to] = await benches();
  await from.config(from.msiMask, 0b0110, 4);
  from.listen(IrqIndex.MSI, 4);
  from.host.msi.raise(1);
  const signals = to.listen(IrqIndex.MSI, 4);
  await from.moveTo(to);
  expect(to.device.config.get32(to.msiMask + 4)).toBe(0b0010);
  to.host.msi.raise(2);
  to.host.msi.raise(0);
  expect(signals).toEqual([0]);
  await to.config(to.msiMask, 0, 4);
  expect(signals).toEqual([0, 1, 2]);
});

it("INTx: the level, Interrupt Status and Interrupt Disable", async () => {
  const [from, to] = await benches();
  const command = PciCommand.MEMORY | PciCommand.MASTER;
  await from.config(PciHeader.COMMAND, command | PciCommand.INTX_DISABLE, 2);
  from.host.intx.set(true);
  const signals = to.listen(IrqIndex.INTX, 1);
  await from.moveTo(to);
  expect(to.device.config.get16(PciHeader.STATUS) & PciStatus.INTERRUPT).toBe(PciStatus.INTERRUPT);
  expect(signals).toEqual([]);
  await to.config(PciHeader.COMMAND, command, 2);
  expect(signals).toEqual([0]);
  to.host.intx.set(false);
  expect(to.device.config.get16(PciHeader.STATUS) & PciStatus.INTERRUPT).toBe(0);
});

it("messages that Bus Master Enable held back go out at the destination when it is set there", async () => {
  const [from, to] = await benches();
  await from.config(PciHeader.COMMAND, PciCommand.MEMORY, 2);
  from.listen(IrqIndex.MSIX, 4);
  from.host.msix.raise(0);
  const signals = to.listen(IrqIndex.MSIX, 4);
  await from.moveTo(to);
  expect(signals).toEqual([]);
  await to.driver();
  expect(signals).toEqual([0]);
});
