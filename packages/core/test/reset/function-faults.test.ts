import "../../../../test/setup-lockdep.js";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { PciDevice, RegionIndex, type PciFunction } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import { BAR_REGISTERS, VALUE, counterDefinition } from "../device/counter.js";
import { heldLocks } from "./card.js";
import { outcome } from "./faults.js";

const { RUNNING, RUNNING_P2P, STOP, STOP_COPY, RESUMING } = MigrationState;

/** A device that declares its state, with memory enabled. */
async function inUse() {
  const { definition, made } = counterDefinition();
  const device = new PciDevice(definition);
  const task = new Task("client");
  const counter = made[0]!;
  const write = (region: number, offset: number, value: number, size: 2 | 4) =>
    device.writeRegion(task, region, offset, size, new Uint8Array(new Uint32Array([value]).buffer), 0);
  await write(RegionIndex.CONFIG, PciHeader.COMMAND, PciCommand.MEMORY, 2);
  counter.calls.length = 0;
  return {
    device,
    counter: counter as PciFunction & typeof counter,
    task,
    write,
    migration: device.migration!,
  };
}

function broken(): never {
  throw new Error("the worker does not answer");
}

describe("stop", () => {
  it("that throws: EIO, still RUNNING, and the next attempt calls it again", async () => {
    const { device, counter, task, migration } = await inUse();
    counter.stop = broken;
    expect(await outcome(migration.setState(task, STOP))).toBe("EIO");
    expect(migration.state).toBe(RUNNING);
    Reflect.deleteProperty(counter, "stop"); // its own again
    await migration.setState(task, STOP);
    expect(counter.calls).toEqual(["stop"]);
    expect(heldLocks(device)).toEqual([]);
  });
});

describe("run", () => {
  it("that throws: EIO, still stopped, and the next attempt calls it again", async () => {
    const { device, counter, task, migration } = await inUse();
    await migration.setState(task, STOP);
    counter.run = broken;
    expect(await outcome(migration.setState(task, RUNNING))).toBe("EIO");
    expect(migration.state).toBe(RUNNING_P2P); // where it initiates nothing
    Reflect.deleteProperty(counter, "run"); // its own again
    await migration.setState(task, RUNNING);
    expect(counter.calls).toEqual(["stop", "run"]);
    expect(heldLocks(device)).toEqual([]);
  });

  it("that throws after a reset: the function was reset, so the reset counts, and its caller hears EIO", async () => {
    const { device, counter, task, migration } = await inUse();
    await migration.setState(task, STOP_COPY);
    counter.run = broken;
    expect(await outcome(device.reset(task))).toBe("EIO");
    expect(device.generation).toBe(1);
    expect(migration.state).toBe(RUNNING);
    expect(device.config.get16(PciHeader.COMMAND)).toBe(0);
    expect(await outcome(async () => migration.readData(task, new Uint8Array(4)))).toBe("ENODEV");
    Reflect.deleteProperty(counter, "run"); // its own again
    counter.calls.length = 0;
    await device.reset(task);
    expect(counter.calls).toEqual(["reset", "run"]);
    expect(heldLocks(device)).toEqual([]);
  });
});

describe("close", () => {
  it("that throws: its caller hears of it, and the memory of the BARs is given back", async () => {
    const { definition, made } = counterDefinition();
    let disposed = 0;
    const device = new PciDevice(definition, {
      memory: {
        allocate: (_name, size) => ({
          bytes: new Uint8Array(size),
          fd: undefined,
          [Symbol.dispose]: () => disposed++,
        }),
      },
    });
    (made[0] as PciFunction).close = broken;
    expect(await outcome(device.close(new Task("admin")))).toBe("EIO");
    expect(disposed).toBe(1);
    expect(heldLocks(device)).toEqual([]);
  });
});

describe("a reset in the middle of loading an image", () => {
  /** The image of a device whose register holds 42. */
  async function image(): Promise<Uint8Array> {
    const { task, write, migration } = await inUse();
    await write(BAR_REGISTERS, VALUE, 42, 4);
    await migration.setState(task, STOP_COPY);
    const bytes = new Uint8Array(migration.dataSize());
    await migration.readData(task, bytes);
    return bytes;
  }

  it("never leaves the image in the device, wherever it falls", async () => {
    const bytes = await image();
    const seen = new Set<string>();
    for (let turns = 0; turns < 40; turns++) {
      const { device, counter, task, migration } = await inUse();
      await migration.setState(task, RESUMING);
      await migration.writeData(task, bytes);
      const admin = new Task("admin");
      const loading = outcome(migration.setState(task, RUNNING)); // RESUMING -> STOP -> RUNNING
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      await device.reset(admin);
      seen.add(await loading);
      expect({ turns, value: counter.value, state: migration.state }).toEqual({
        turns,
        value: 0,
        state: RUNNING,
      });
      expect(heldLocks(device)).toEqual([]);
      // The next load is not disturbed by what is left of it.
      await migration.setState(task, RESUMING);
      await migration.writeData(task, bytes);
      await migration.setState(task, RUNNING);
      expect(counter.value).toBe(42);
    }
    expect([...seen].sort()).toEqual(["0", "ECANCELED"]); // both before and after it was tried
  });
});
