import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { IrqIndex, PciDevice, RegionIndex, VfioError, definePciDevice, memory, mmio } from "@vfiokit/core";
import {
  PciAf,
  PciAfCtrl,
  PciCommand,
  PciExp,
  PciExpDevctl,
  PciHeader,
  PciPm,
  PowerState,
} from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import { RegionFlags } from "@vfiokit/core/host";
import {
  BAR_MEMORY,
  BAR_MSIX,
  BAR_REGISTERS,
  DOORBELL,
  VALUE,
  counterDefinition,
  type Counter,
} from "./counter.js";

const CONFIG = RegionIndex.CONFIG;

/** A counter with memory enabled, and synchronous register access for the tests. */
function setUp(options: { noSoftReset?: boolean } = {}) {
  const { definition, made } = counterDefinition(options);
  const device = new PciDevice(definition);
  const task = new Task("test");
  const buffer = new Uint8Array(64);
  const view = new DataView(buffer.buffer);
  const read32 = (region: number, offset: number) => {
    expect(device.readRegion(task, region, offset, 4, buffer, 0)).toBeUndefined();
    return view.getUint32(0, true);
  };
  const write = (region: number, offset: number, size: 1 | 2 | 4, value: number) => {
    view.setUint32(0, value, true);
    return device.writeRegion(task, region, offset, size, buffer, 0);
  };
  const enableMemory = () => write(CONFIG, PciHeader.COMMAND, 2, PciCommand.MEMORY);
  void enableMemory();
  const counter = made[0] as Counter;
  counter.calls.length = 0;
  return { device, counter, task, buffer, read32, write, enableMemory };
}

describe("regions", () => {
  it("are the nine of VFIO PCI", () => {
    const { device } = setUp();
    expect(device.info()).toEqual({ flags: 3, numRegions: 9, numIrqs: 5 });
    expect(device.regionInfo(BAR_REGISTERS)).toMatchObject({
      size: 0x1000,
      flags: RegionFlags.READ | RegionFlags.WRITE,
    });
    expect(device.regionInfo(CONFIG)).toMatchObject({ size: 4096 });
    expect(device.regionInfo(RegionIndex.ROM)).toMatchObject({ size: 0, flags: 0 });
    expect(() => device.regionInfo(9)).toThrow("EINVAL: region index 9: the device has 9 regions");
  });

  it("refuse an access outside them, and one to a region that is not there", () => {
    const { device, task, buffer } = setUp();
    expect(() => device.readRegion(task, BAR_REGISTERS, 0xffe, 4, buffer, 0)).toThrow(
      /EINVAL: region 0: offset 4094 and count 4/,
    );
    expect(() => device.readRegion(task, 1, 0, 4, buffer, 0)).toThrow(/EINVAL: region 1: its size is 0/);
    expect(() => device.readRegion(task, 77, 0, 4, buffer, 0)).toThrow(/EINVAL: region index 77/);
    expect(() => device.readRegion(task, BAR_REGISTERS, -4, 4, buffer, 0)).toThrow(VfioError);
    expect(task.holds).toEqual([]);
  });

  it("turn accesses of any size into aligned register accesses", () => {
    const { device, counter, task, buffer } = setUp();
    buffer.set([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    void device.writeRegion(task, BAR_REGISTERS, 0x10, 8, buffer, 0);
    void device.writeRegion(task, BAR_REGISTERS, 0x21, 7, buffer, 0);
    void device.readRegion(task, BAR_REGISTERS, 0x32, 2, buffer, 0);
    expect(counter.calls).toEqual([
      "write32 0:10=44332211",
      "write32 0:14=88776655",
      "write8 0:21=11",
      "write16 0:22=3322",
      "write32 0:24=77665544",
      "read16 0:32",
    ]);
  });

  it("of memory keep what is written, byte by byte, without the device", () => {
    const { device, counter, task, buffer, read32 } = setUp();
    buffer.set([1, 2, 3, 4, 5]);
    void device.writeRegion(task, BAR_MEMORY, 0x1001, 5, buffer, 0);
    expect(read32(BAR_MEMORY, 0x1000)).toBe(0x03020100);
    expect(counter.host.memory(BAR_MEMORY)[0x1005]).toBe(5);
    expect(counter.calls).toEqual([]);
  });

  it("of MSI-X hold the table, masked at power-on, and the pending bits", () => {
    const { counter, read32, write } = setUp();
    expect(read32(BAR_MSIX, 12)).toBe(1);
    void write(BAR_MSIX, 16, 4, 0xfee00000);
    expect(read32(BAR_MSIX, 16)).toBe(0xfee00000);
    counter.host.msix.raise(2);
    expect(read32(BAR_MSIX, 0x1000)).toBe(0b100);
  });

  it("in memory space answer EIO while memory is disabled (Linux: vfio_pci_core_do_io_rw)", () => {
    const { device, task, buffer, write, enableMemory } = setUp();
    void write(CONFIG, PciHeader.COMMAND, 2, 0);
    expect(() => device.readRegion(task, BAR_REGISTERS, 0, 4, buffer, 0)).toThrow(
      /EIO: counter: memory is disabled/,
    );
    void enableMemory();
    expect(() => device.readRegion(task, BAR_REGISTERS, 0, 4, buffer, 0)).not.toThrow();
  });

  it("in memory space answer EIO in D3hot", () => {
    const { device, task, buffer, write } = setUp();
    const { pm } = device.capabilities;
    void write(CONFIG, pm!.offset + PciPm.CTRL, 2, PowerState.D3HOT);
    expect(() => device.readRegion(task, BAR_REGISTERS, 0, 4, buffer, 0)).toThrow(/EIO/);
    void write(CONFIG, pm!.offset + PciPm.CTRL, 2, PowerState.D0);
    expect(() => device.readRegion(task, BAR_REGISTERS, 0, 4, buffer, 0)).not.toThrow();
  });

  it("need the handlers that their BARs call for", () => {
    const definition = definePciDevice({
      name: "mute",
      id: { vendor: 1, device: 2, classCode: 0 },
      bars: [mmio({ size: 0x1000 })],
      create: () => ({ reset: () => undefined }),
    });
    expect(() => new PciDevice(definition)).toThrow(
      "EINVAL: mute: BAR 0 holds registers, so the device needs read and write",
    );
  });
});

it("a device whose second memory BAR gets no memory leaves none of the first", () => {
  let held = 0;
  const allocate = (_name: string, size: number) => {
    if (held > 0) throw new VfioError("ENOMEM", "there is no more");
    held++;
    const dispose = () => {
      held--;
    };
    return { bytes: new Uint8Array(size), fd: undefined, [Symbol.dispose]: dispose };
  };
  const definition = definePciDevice({
    name: "two memories",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [memory({ size: 0x1000 }), memory({ size: 0x1000 })],
    create: () => ({ reset: () => undefined }),
  });
  expect(() => new PciDevice(definition, { memory: { allocate } })).toThrow(/ENOMEM/);
  expect(held).toBe(0);
});

describe("INTx", () => {
  it("shows in the status register, and is held back by the command register's bit 10", () => {
    const { device, task, read32, write } = setUp();
    let signals = 0;
    void device.setIrqs(task, {
      index: IrqIndex.INTX,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [{ signal: () => signals++, close: () => undefined }] },
    });
    void write(CONFIG, PciHeader.COMMAND, 2, PciCommand.MEMORY | PciCommand.INTX_DISABLE);
    void write(BAR_REGISTERS, DOORBELL, 4, 1);
    expect(signals).toBe(0);
    expect((read32(CONFIG, PciHeader.COMMAND) >>> 19) & 1).toBe(1);
    void write(CONFIG, PciHeader.COMMAND, 2, PciCommand.MEMORY);
    expect(signals).toBe(1);
  });
});

describe("reset", () => {
  const ways = {
    ioctl: ({ device, task }: ReturnType<typeof setUp>) => device.reset(task),
    "FLR by the PCI Express capability": ({ device, write }: ReturnType<typeof setUp>) =>
      write(CONFIG, device.capabilities.express!.offset + PciExp.DEVCTL, 2, PciExpDevctl.BCR_FLR),
    "FLR by the Advanced Features capability": ({ device, write }: ReturnType<typeof setUp>) =>
      write(CONFIG, device.capabilities.af!.offset + PciAf.CTRL, 1, PciAfCtrl.FLR),
  };

  for (const [name, doReset] of Object.entries(ways)) {
    it(`${name}: power-on values, a new generation, RUNNING`, async () => {
      const set = setUp();
      const { device, counter, task, read32, write, enableMemory } = set;
      void write(BAR_REGISTERS, VALUE, 4, 42);
      await device.migration!.setState(task, MigrationState.STOP);
      counter.calls.length = 0;

      await doReset(set);

      expect(device.generation).toBe(1);
      expect(device.migration!.state).toBe(MigrationState.RUNNING);
      expect(counter.calls).toEqual(["reset", "run"]);
      expect(read32(CONFIG, PciHeader.COMMAND) & 0xffff).toBe(0);
      void enableMemory();
      expect(read32(BAR_REGISTERS, VALUE)).toBe(0);
      expect(task.holds).toEqual([]);
    });
  }

  it("by D3hot to D0 happens only without No_Soft_Reset", async () => {
    for (const [noSoftReset, generation] of [
      [true, 0],
      [false, 1],
    ] as const) {
      const { device, write } = setUp({ noSoftReset });
      const control = device.capabilities.pm!.offset + PciPm.CTRL;
      await write(CONFIG, control, 2, PowerState.D3HOT);
      expect(device.generation).toBe(0);
      await write(CONFIG, control, 2, PowerState.D0);
      expect(device.generation).toBe(generation);
    }
  });

  it("that fails changes nothing and answers EIO", async () => {
    const { device, counter, task, read32, write } = setUp();
    void write(BAR_REGISTERS, VALUE, 4, 42);
    await device.migration!.setState(task, MigrationState.STOP);
    counter.failReset = true;
    await expect(device.reset(task)).rejects.toThrow(
      "EIO: counter: VFIO_DEVICE_RESET failed: the firmware does not answer",
    );
    expect(device.generation).toBe(0);
    expect(device.migration!.state).toBe(MigrationState.STOP);
    expect(read32(BAR_REGISTERS, VALUE)).toBe(42);
    expect(task.holds).toEqual([]);
  });

  it("makes accesses wait that come meanwhile, and serves them afterwards", async () => {
    const { device, task, buffer } = setUp();
    const other = new Task("other");
    const hold = device.memoryLock.downWrite(other);
    expect(hold).toBeUndefined();
    const access = device.readRegion(task, BAR_REGISTERS, VALUE, 4, buffer, 0);
    expect(access).toBeInstanceOf(Promise);
    device.memoryLock.upWrite(other);
    await access;
    expect(task.holds).toEqual([]);
  });
});

describe("STOP_COPY migration", () => {
  /** Saves the image in pieces of `chunk` bytes. */
  async function save({ device, task }: ReturnType<typeof setUp>, chunk = 100): Promise<Uint8Array[]> {
    await device.migration!.setState(task, MigrationState.STOP_COPY);
    const pieces: Uint8Array[] = [];
    for (;;) {
      const piece = new Uint8Array(chunk);
      const count = await device.migration!.readData(task, piece);
      if (count === 0) return pieces;
      pieces.push(piece.subarray(0, count));
    }
  }

  it("carries registers, memory, configuration, interrupt levels and pending vectors to another device", async () => {
    const from = setUp();
    const to = setUp();
    void from.write(BAR_REGISTERS, VALUE, 4, 0xdeadbeef);
    void from.write(BAR_REGISTERS, DOORBELL, 4, 1);
    void from.write(BAR_MEMORY, 0x1ffc, 4, 0x12345678);
    void from.write(BAR_MSIX, 16, 4, 0xfee00000);
    from.counter.host.msix.raise(3);
    void to.write(CONFIG, PciHeader.COMMAND, 2, 0);

    const image = await save(from);
    await to.device.migration!.setState(to.task, MigrationState.RESUMING);
    for (const piece of image) await to.device.migration!.writeData(to.task, piece);
    await to.device.migration!.setState(to.task, MigrationState.RUNNING);

    let signals = 0;
    void to.device.setIrqs(to.task, {
      index: IrqIndex.INTX,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [{ signal: () => signals++, close: () => undefined }] },
    });
    expect(signals).toBe(1);
    expect(to.read32(BAR_REGISTERS, VALUE)).toBe(0xdeadbeef);
    expect(to.read32(BAR_MEMORY, 0x1ffc)).toBe(0x12345678);
    expect(to.read32(BAR_MSIX, 16)).toBe(0xfee00000);
    expect(to.read32(BAR_MSIX, 0x1000)).toBe(0b1000);
    expect(to.device.migration!.state).toBe(MigrationState.RUNNING);
  });

  it.each([
    ["before its memory: stays in RESUMING", 200, MigrationState.RESUMING],
    ["behind its memory: is in ERROR, since that holds a part of the image", -1, MigrationState.ERROR],
  ])("refuses an image that breaks off %s, and changes no register", async (_, end, state) => {
    const from = setUp();
    const to = setUp();
    void from.write(BAR_REGISTERS, VALUE, 4, 1);
    void to.write(BAR_REGISTERS, VALUE, 4, 2);
    const image = Buffer.concat(await save(from));
    const { migration } = to.device;
    await migration!.setState(to.task, MigrationState.RESUMING);
    await migration!.writeData(to.task, image.subarray(0, end));
    await expect(migration!.setState(to.task, MigrationState.STOP)).rejects.toThrow(
      /EINVAL: migration stream/,
    );
    expect(migration!.state).toBe(state);
    expect(to.read32(BAR_REGISTERS, VALUE)).toBe(2);
    await to.device.reset(to.task);
    expect(migration!.state).toBe(MigrationState.RUNNING);
  });

  it("answers ENODEV to the session that a reset has ended, EINVAL where there never was one", async () => {
    const set = setUp();
    const migration = set.device.migration!;
    expect(() => migration.readData(set.task, new Uint8Array(8))).toThrow(/EINVAL.*no session is open/);
    await migration.setState(set.task, MigrationState.STOP_COPY);
    expect(await migration.readData(set.task, new Uint8Array(8))).toBe(8);
    expect(() => migration.writeData(set.task, new Uint8Array(8))).toThrow(/EINVAL.*it is being saved/);
    await set.device.reset(set.task);
    expect(migration.state).toBe(MigrationState.RUNNING);
    expect(() => migration.readData(set.task, new Uint8Array(8))).toThrow(/ENODEV/);
  });
});

describe("client", () => {
  it("that goes away leaves the device's registers and takes its triggers", async () => {
    const { device, task, read32, write } = setUp();
    let closed = 0;
    void device.setIrqs(task, {
      index: IrqIndex.INTX,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [{ signal: () => undefined, close: () => closed++ }] },
    });
    void write(BAR_REGISTERS, VALUE, 4, 42);
    await device.disconnect(task);
    expect(closed).toBe(1);
    expect(read32(BAR_REGISTERS, VALUE)).toBe(42);
  });

  it("that goes away in the middle of a migration leaves the device running", async () => {
    const { device, counter, task } = setUp();
    await device.migration!.setState(task, MigrationState.STOP);
    await device.disconnect(task);
    expect(device.migration!.state).toBe(MigrationState.RUNNING);
    expect(counter.calls.at(-1)).toBe("run");
  });
});
