import { describe, expect, it } from "vitest";
import { DeviceSet, IrqIndex, PciDevice, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader, PciHeaderType, PciMsixEntry } from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import type { ClientMemory } from "@vfiokit/core/host";
import { counterCard, counterRegisters as reg } from "@vfiokit/devices";
import { Task } from "@vfiokit/lockdep";
import { ManualClock } from "../serial/bench.js";

const BAR0 = RegionIndex.BAR0;

/** A function of the card, and a driver at its registers. */
class Bench {
  readonly task = new Task("driver");
  readonly buffer = new Uint8Array(4);
  readonly view = new DataView(this.buffer.buffer);
  interrupts = 0;

  constructor(readonly device: PciDevice) {
    this.enableMemory();
  }

  enableMemory(): void {
    this.view.setUint32(0, PciCommand.MEMORY | PciCommand.MASTER, true);
    void this.device.writeRegion(this.task, RegionIndex.CONFIG, PciHeader.COMMAND, 2, this.buffer, 0);
  }

  read(register: number): number {
    void this.device.readRegion(this.task, BAR0, register, 4, this.buffer, 0);
    return this.view.getUint32(0, true);
  }

  write(register: number, value: number): void {
    this.view.setUint32(0, value, true);
    void this.device.writeRegion(this.task, BAR0, register, 4, this.buffer, 0);
  }

  /** Counts interrupts of the line, or of MSI. */
  listen(index: number): this {
    const trigger = { signal: () => (this.interrupts += 1), close: () => undefined };
    void this.device.setIrqs(this.task, {
      index,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [trigger] },
    });
    return this;
  }

  /** Counts to `compare`, a millisecond each, and interrupts then. */
  start(compare: number): this {
    this.write(reg.PERIOD, 1);
    this.write(reg.COMPARE, compare);
    this.write(reg.CONTROL, reg.CONTROL_ENABLE | reg.CONTROL_INTERRUPT);
    return this;
  }
}

function setUp(functions = 1, options: { msix?: boolean } = {}) {
  const clock = new ManualClock();
  const set = new DeviceSet();
  const devices = counterCard({ functions, clock, ...options }).map(
    (definition) => new PciDevice(definition, { set }),
  );
  const benches = devices.map((device) => new Bench(device));
  return { clock, set, benches, bench: benches[0]! };
}

describe("the counter", () => {
  it("stands at power-on", () => {
    const { bench, clock } = setUp();
    const registers = [reg.CONTROL, reg.PERIOD, reg.COUNT, reg.COMPARE, reg.STATUS, reg.ADDRESS_LOW];
    expect(registers.map((register) => bench.read(register))).toEqual([0, 1000, 0, 0, 0, 0]);
    clock.advance(10_000);
    expect(bench.read(reg.COUNT)).toBe(0);
  });

  it("counts one each PERIOD milliseconds while enabled, and wraps", () => {
    const { bench, clock } = setUp();
    bench.write(reg.COUNT, 0xffff_ffff);
    bench.write(reg.PERIOD, 10);
    bench.write(reg.CONTROL, reg.CONTROL_ENABLE);
    clock.advance(9);
    expect(bench.read(reg.COUNT)).toBe(0xffff_ffff);
    clock.advance(1);
    expect(bench.read(reg.COUNT)).toBe(0);
    clock.advance(95);
    expect(bench.read(reg.COUNT)).toBe(9);
    bench.write(reg.CONTROL, 0);
    clock.advance(100);
    expect(bench.read(reg.COUNT)).toBe(9);
  });

  it("keeps 16 bits of PERIOD, and takes 0 for 1", () => {
    const { bench, clock } = setUp();
    bench.write(reg.PERIOD, 0xffff_fffe);
    expect(bench.read(reg.PERIOD)).toBe(0xfffe);
    bench.write(reg.PERIOD, 0);
    bench.write(reg.CONTROL, reg.CONTROL_ENABLE);
    clock.advance(5);
    expect(bench.read(reg.COUNT)).toBe(5);
  });

  it("is accessed 32 bits at a time: narrower writes do nothing", () => {
    const { bench } = setUp();
    void bench.device.writeRegion(bench.task, BAR0, reg.COUNT, 2, Uint8Array.of(1, 1), 0);
    expect(bench.read(reg.COUNT)).toBe(0);
  });

  it("interrupts at COMPARE until STATUS is cleared: INTx", () => {
    const { bench, clock } = setUp();
    bench.listen(IrqIndex.INTX).start(3);
    clock.advance(2);
    expect([bench.interrupts, bench.read(reg.STATUS)]).toEqual([0, 0]);
    clock.advance(1);
    expect([bench.interrupts, bench.read(reg.STATUS)]).toEqual([1, reg.STATUS_MATCH]);
    expect(bench.device.irqs.snapshot().intxAsserted).toBe(true);
    bench.write(reg.STATUS, reg.STATUS_MATCH);
    expect(bench.device.irqs.snapshot().intxAsserted).toBe(false);
    clock.advance(100);
    expect(bench.interrupts).toBe(1);
  });

  it("sends a message and leaves the line alone, once MSI is enabled", () => {
    const { bench, clock } = setUp();
    bench.listen(IrqIndex.MSI).start(3);
    clock.advance(3);
    expect(bench.interrupts).toBe(1);
    expect(bench.device.irqs.snapshot().intxAsserted).toBe(false);
  });

  it("sends MSI-X where it has it and that is enabled", () => {
    const { bench, clock } = setUp(1, { msix: true });
    expect(bench.device.irqInfo(IrqIndex.MSIX).count).toBe(4);
    // Entries are masked at power-on (PCI 3.0 §6.8.2.9).
    bench.view.setUint32(0, 0, true);
    const control = PciMsixEntry.VECTOR_CTRL;
    void bench.device.writeRegion(bench.task, RegionIndex.BAR4, control, 4, bench.buffer, 0);
    bench.listen(IrqIndex.MSIX).start(3);
    clock.advance(3);
    expect(bench.interrupts).toBe(1);
    expect(bench.device.irqs.snapshot().intxAsserted).toBe(false);
  });

  it("does not interrupt unless CONTROL says so", () => {
    const { bench, clock } = setUp();
    bench.listen(IrqIndex.MSI).start(2);
    bench.write(reg.CONTROL, reg.CONTROL_ENABLE);
    clock.advance(2);
    expect([bench.interrupts, bench.read(reg.STATUS)]).toEqual([0, reg.STATUS_MATCH]);
  });
});

describe("the write to memory", () => {
  const ADDRESS = 0x1_0000_1000n;

  /** The client's memory by messages: each is answered by hand. */
  function remote() {
    const writes: { address: bigint; bytes: number[]; answer(error?: Error): void }[] = [];
    const memory: ClientMemory = {
      read: () => Promise.reject(new Error("not read")),
      write: (address, from) =>
        new Promise((resolve, reject) => {
          writes.push({
            address,
            bytes: [...from],
            answer: (error) => (error ? reject(error) : resolve()),
          });
        }),
    };
    return { memory, writes };
  }

  async function setUpRemote() {
    const { bench, clock } = setUp();
    const { memory, writes } = remote();
    bench.device.dma.clientMemory = memory;
    await bench.device.dma.map(bench.task, {
      address: ADDRESS,
      size: 0x1000n,
      readable: true,
      writable: true,
      backing: undefined,
    });
    bench.write(reg.ADDRESS_LOW, Number(ADDRESS & 0xffff_ffffn) + 8);
    bench.write(reg.ADDRESS_HIGH, Number(ADDRESS >> 32n));
    bench.listen(IrqIndex.MSI).start(0x102);
    bench.write(reg.COUNT, 0x100);
    clock.advance(2);
    return { bench, clock, writes };
  }

  const settled = () => new Promise((resolve) => setImmediate(resolve));

  it("comes before the interrupt, and the counter stands until it is done", async () => {
    const { bench, clock, writes } = await setUpRemote();
    expect(writes).toMatchObject([{ address: ADDRESS + 8n, bytes: [2, 1, 0, 0] }]);
    clock.advance(50);
    expect([bench.read(reg.COUNT), bench.read(reg.STATUS), bench.interrupts]).toEqual([0x102, 0, 0]);
    writes[0]!.answer();
    await settled();
    expect([bench.read(reg.STATUS), bench.interrupts]).toEqual([reg.STATUS_MATCH, 1]);
    clock.advance(5);
    expect(bench.read(reg.COUNT)).toBe(0x107);
  });

  it("that fails shows in STATUS", async () => {
    const { bench, writes } = await setUpRemote();
    writes[0]!.answer(new Error("no"));
    await settled();
    expect(bench.read(reg.STATUS)).toBe(reg.STATUS_MATCH | reg.STATUS_DMA_ERROR);
    const unmapped = setUp();
    unmapped.bench.write(reg.ADDRESS_LOW, 0x5000);
    unmapped.bench.start(1);
    unmapped.clock.advance(1);
    expect(unmapped.bench.read(reg.STATUS)).toBe(reg.STATUS_MATCH | reg.STATUS_DMA_ERROR);
  });

  it("has no effect on a device that was reset meanwhile", async () => {
    const { bench, writes } = await setUpRemote();
    await bench.device.reset(bench.task);
    writes[0]!.answer();
    await settled();
    bench.enableMemory();
    expect([bench.read(reg.STATUS), bench.interrupts]).toEqual([0, 0]);
  });

  it("that a migration overtakes is done by the other side", async () => {
    const source = await setUpRemote();
    const { migration } = source.bench.device;
    await migration!.setState(source.bench.task, MigrationState.STOP_COPY);
    const image = new Uint8Array(8192);
    const length = await migration!.readData(source.bench.task, image);

    const { bench } = setUp();
    const { memory, writes } = remote();
    bench.device.dma.clientMemory = memory;
    await bench.device.dma.map(bench.task, {
      address: ADDRESS,
      size: 0x1000n,
      readable: true,
      writable: true,
      backing: undefined,
    });
    bench.listen(IrqIndex.MSI);
    await bench.device.migration!.setState(bench.task, MigrationState.RESUMING);
    await bench.device.migration!.writeData(bench.task, image.subarray(0, length));
    expect(writes).toEqual([]);
    await bench.device.migration!.setState(bench.task, MigrationState.RUNNING);
    expect(writes).toMatchObject([{ address: ADDRESS + 8n, bytes: [2, 1, 0, 0] }]);
    writes[0]!.answer();
    await settled();
    expect([bench.interrupts, bench.read(reg.STATUS)]).toEqual([1, reg.STATUS_MATCH]);
  });
});

describe("stop and run", () => {
  it("the counter stands while it is paused or migrated, and goes on from there", async () => {
    const { bench, clock } = setUp();
    bench.start(0);
    clock.advance(5);
    bench.device.pause();
    clock.advance(5);
    expect(bench.read(reg.COUNT)).toBe(5);
    bench.device.resume();
    clock.advance(5);
    await bench.device.migration!.setState(bench.task, MigrationState.STOP_COPY);
    clock.advance(5);
    expect(bench.read(reg.COUNT)).toBe(10);
    expect(clock.armed).toBe(false);
    await bench.device.migration!.setState(bench.task, MigrationState.RUNNING);
    clock.advance(5);
    expect(bench.read(reg.COUNT)).toBe(15);
  });

  it("nothing is left to happen once it is closed", async () => {
    const { bench, clock } = setUp();
    bench.start(5);
    await bench.device.close(bench.task);
    expect(clock.armed).toBe(false);
  });
});

describe("the card", () => {
  it("has 1 to 8 functions, marked as several unless it is one", () => {
    for (const functions of [0, 9, 1.5]) {
      expect(() => counterCard({ functions })).toThrow(`EINVAL: functions ${functions}: a card has 1 to 8`);
    }
    expect(counterCard({ functions: 8 }).map(({ name }) => name)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((number) => `counter.${number}`),
    );
    const headerType = ({ device }: Bench) => device.config.snapshot()[PciHeader.HEADER_TYPE];
    expect(setUp(2).benches.map(headerType)).toEqual([
      PciHeaderType.MULTIFUNCTION,
      PciHeaderType.MULTIFUNCTION,
    ]);
    expect(setUp(1).benches.map(headerType)).toEqual([0]);
    expect(counterCard({ functions: 1 })[0]!.name).toBe("counter");
  });

  it("gives its functions the pins in turn", () => {
    expect(
      counterCard({ functions: 5 })
        .map(({ interruptPin }) => interruptPin)
        .join(""),
    ).toBe("ABCDA");
  });

  it("keeps the functions apart: a reset of one is nothing to the others", async () => {
    const { benches, clock } = setUp(3);
    for (const bench of benches) bench.start(0);
    clock.advance(4);
    await benches[1]!.device.reset(benches[1]!.task);
    expect(benches.map(({ device }) => device.generation)).toEqual([0, 1, 0]);
    clock.advance(4);
    expect([benches[0], benches[2]].map((bench) => bench!.read(reg.COUNT))).toEqual([8, 8]);
  });

  it("is reset as a whole by a hot reset", async () => {
    const { benches, set, clock } = setUp(3);
    for (const bench of benches) bench.start(0);
    clock.advance(4);
    await set.hotReset(new Task("admin"), new Set(set.devices));
    expect(benches.map(({ device }) => device.generation)).toEqual([1, 1, 1]);
    expect(clock.armed).toBe(false);
  });
});

describe("scratch memory", () => {
  const withScratch = (scratch: "whole" | "sparse") =>
    new PciDevice(counterCard({ functions: 1, scratch })[0]!, {
      memory: {
        allocate: (_name, size) => ({
          bytes: new Uint8Array(size),
          fd: 7, // a client could map it
          [Symbol.dispose]: () => undefined,
        }),
      },
    });

  it("can be mapped whole, or in parts", () => {
    expect(withScratch("whole").regionInfo(RegionIndex.BAR2)).toMatchObject({
      size: 0x4000,
      mmapAreas: [{ offset: 0, size: 0x4000 }],
    });
    expect(withScratch("sparse").regionInfo(RegionIndex.BAR2).mmapAreas).toEqual([
      { offset: 0x1000, size: 0x1000 },
      { offset: 0x3000, size: 0x1000 },
    ]);
  });

  it("is empty after a reset", async () => {
    const device = withScratch("whole");
    const { bytes } = device.barBacking(2);
    bytes!.fill(7);
    await device.reset(new Task("reset"));
    expect(bytes!.every((byte) => byte === 0)).toBe(true);
  });
});
