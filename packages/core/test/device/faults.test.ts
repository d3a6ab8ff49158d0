import { Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { definePciDevice, IrqIndex, mmio, PciDevice, VfioError, express, sections } from "@vfiokit/core";
import type { FunctionHost, PciFunction } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";

const BAR0 = 0;
const CONFIG = 7;

/** A device whose methods do what a test says. */
function setUp(methods: Partial<PciFunction>, options: { maxFaults?: number } = {}) {
  const told: string[] = [];
  let host!: FunctionHost;
  const definition = definePciDevice({
    name: "faulty",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [mmio({ size: 0x1000 })],
    capabilities: [express({ flr: true })],
    create: (given) => {
      host = given;
      return {
        read: () => 7,
        write: () => undefined,
        reset: () => undefined,
        state: sections({}),
        ...methods,
      };
    },
  });
  const device = new PciDevice(definition, { ...options, onFault: (message) => told.push(message) });
  const task = new Task("test");
  const command = Uint8Array.of(PciCommand.MEMORY, 0);
  const enable = () => void device.writeRegion(task, CONFIG, PciHeader.COMMAND, 2, command, 0);
  enable();
  const bytes = new Uint8Array(4);
  const read = () => {
    void device.readRegion(task, BAR0, 0, 4, bytes, 0);
    return bytes[0];
  };
  const write = () => void device.writeRegion(task, BAR0, 0, 4, bytes, 0);
  return { device, host, told, task, read, write, enable };
}

const thrower = (): never => {
  throw new TypeError("a bug");
};

describe("an exception of a device's own code", () => {
  type Bench = ReturnType<typeof setUp>;
  const acts: [method: "read" | "write" | "stop", act: (bench: Bench) => unknown][] = [
    ["read", (bench) => bench.read()],
    ["write", (bench) => bench.write()],
    ["stop", (bench) => bench.device.pause()],
  ];
  it.each(acts)(
    "in %s fails that access with EIO, naming device and method, and is counted",
    (method, act) => {
      const bench = setUp({ [method]: thrower });
      expect(() => act(bench)).toThrow(`EIO: faulty: ${method}: a bug`);
      expect(bench.device.faults).toEqual({ count: 1, failed: false, last: `${method}: a bug` });
    },
  );

  it("is told with its stack once, however often it comes, and lets go of memoryLock", () => {
    const { device, told, read } = setUp({ read: thrower });
    for (let i = 0; i < 5; i++) expect(read).toThrow("EIO");
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(
      /faulty: an exception in read, told once: TypeError: a bug\n +at .*faults\.test\.ts/,
    );
    expect(device.faults.count).toBe(5);
    expect(device.memoryLock.holders()).toEqual([]);
  });

  it("in an async write, which the types allow, is counted and no unhandled rejection", async () => {
    const { device, write } = setUp({
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- what an author may do by mistake
      write: async () => {
        await Promise.resolve();
        throw new TypeError("too late");
      },
    });
    write();
    await new Promise(setImmediate);
    expect(device.faults).toMatchObject({ count: 1, last: "write: too late" });
  });

  it("an async read, which the types forbid, fails the access", () => {
    const { read } = setUp({ read: (() => Promise.resolve(1)) as unknown as () => number });
    expect(read).toThrow("EIO: faulty: read: read returned object: a register is a number");
  });

  it("in a timer, or in a promise's callback, is counted where the device has guarded it", async () => {
    const { device, host } = setUp({});
    host.guard("timer", thrower)();
    host.guard("dma", () => Promise.reject(new VfioError("EFAULT", "not mapped")))();
    await new Promise(setImmediate);
    expect(device.faults).toMatchObject({ count: 2, last: "dma: EFAULT: not mapped" });
  });

  it("an errno that the device answers with is no fault", () => {
    const { device, read } = setUp({
      read: () => {
        throw new VfioError("ENODEV", "no medium");
      },
    });
    expect(read).toThrow("ENODEV: no medium");
    expect(device.faults.count).toBe(0);
  });
});

describe("after --max-faults exceptions", () => {
  it("the device has failed: EIO without a call, stopped, ERR to the client, until a reset", async () => {
    let broken = true;
    const calls: string[] = [];
    const bench = setUp(
      {
        read: (): number => {
          calls.push("read");
          if (broken) thrower();
          return 9;
        },
        stop: () => void calls.push("stop"),
        run: () => void calls.push("run"),
      },
      { maxFaults: 3 },
    );
    const { device, told, task, read } = bench;
    let signals = 0;
    const trigger = {
      signal: () => {
        signals++;
      },
      close: () => undefined,
    };
    const data = { triggers: [trigger] };
    void device.setIrqs(task, { index: IrqIndex.ERR, start: 0, count: 1, action: "trigger", data });
    for (let i = 0; i < 5; i++) expect(read).toThrow("EIO");
    expect(calls).toEqual(["read", "read", "read", "stop"]);
    expect(device.faults).toMatchObject({ count: 3, failed: true });
    expect([...device.stopped]).toEqual(["faults"]);
    expect(signals).toBe(1);
    expect(told.at(-1)).toContain("failed after 3 exceptions since its last reset");

    broken = false;
    await device.reset(task);
    bench.enable();
    expect(read()).toBe(9);
    expect(device.faults).toMatchObject({ count: 3, failed: false });
    expect([...device.stopped]).toEqual([]);
  });

  it("a device whose stop throws, too, does not go round in circles", () => {
    const { device, read } = setUp({ read: thrower, stop: thrower }, { maxFaults: 2 });
    for (let i = 0; i < 4; i++) expect(read).toThrow("EIO");
    expect(device.faults).toMatchObject({ count: 3, failed: true });
  });

  it("maxFaults must be 1 or more", () => {
    expect(() => setUp({}, { maxFaults: 0 })).toThrow("EINVAL: maxFaults 0: 1 or more");
  });
});
