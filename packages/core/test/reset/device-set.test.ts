import "../../../../test/setup-lockdep.js";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { DeviceSet, type IdlePower } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { Bench } from "./card.js";
import { Held, expectIntact, outcome } from "./faults.js";
import { failResets } from "./paths.js";

const { PRE_COPY, RUNNING, STOP_COPY } = MigrationState;

/** Functions of one card, in use. */
async function cardOf(functions: number, options: { foreign?: string[]; idlePower?: IdlePower } = {}) {
  const set = new DeviceSet(options);
  const benches = Array.from(
    { length: functions },
    (_, i) => new Bench({ set, name: `card.${i}`, idlePower: options.idlePower ?? "D0" }),
  );
  for (const bench of benches) await bench.use();
  const devices = benches.map(({ device }) => device);
  const resets = () => benches.map(({ card }) => card.calls.filter((call) => call === "reset").length);
  return { set, benches, devices, resets, owned: new Set(devices), task: new Task("hot reset") };
}

/** Every taking and release of the functions' own locks, in order: "+memoryLock 0". */
function recordLocks(benches: readonly Bench[]): string[] {
  const log: string[] = [];
  benches.forEach(({ device: { memoryLock, deviceLock } }, i) => {
    const tryDownWrite = memoryLock.tryDownWrite.bind(memoryLock);
    const upWrite = memoryLock.upWrite.bind(memoryLock);
    const tryLock = deviceLock.tryLock.bind(deviceLock);
    const unlock = deviceLock.unlock.bind(deviceLock);
    memoryLock.tryDownWrite = (task) => noted(tryDownWrite(task), `+memoryLock ${i}`);
    memoryLock.upWrite = (task) => {
      upWrite(task);
      log.push(`-memoryLock ${i}`);
    };
    deviceLock.tryLock = (task) => noted(tryLock(task), `+deviceLock ${i}`);
    deviceLock.unlock = (task) => {
      unlock(task);
      log.push(`-deviceLock ${i}`);
    };
  });
  return log;

  function noted(taken: boolean, entry: string): boolean {
    if (taken) log.push(entry);
    return taken;
  }
}

describe("a hot reset", () => {
  it("tells whom it would hit, and who is not the core's", async () => {
    const { set } = await cardOf(2, { foreign: ["card.2"] });
    expect(set.hotResetInfo()).toEqual([
      { name: "card.0", owned: true },
      { name: "card.1", owned: true },
      { name: "card.2", owned: false },
    ]);
  });

  it("takes every memoryLock, then every deviceLock, and releases in reverse", async () => {
    const { set, benches, owned, task, resets } = await cardOf(3);
    const log = recordLocks(benches);
    await set.hotReset(task, owned);
    expect(log).toEqual([
      "+memoryLock 0",
      "+memoryLock 1",
      "+memoryLock 2",
      "+deviceLock 0",
      "+deviceLock 1",
      "+deviceLock 2",
      "-deviceLock 2",
      "-deviceLock 1",
      "-deviceLock 0",
      "-memoryLock 2",
      "-memoryLock 1",
      "-memoryLock 0",
    ]);
    expect(resets()).toEqual([1, 1, 1]);
    expectIntact(benches, task);
  });

  it("is EINVAL for who cannot prove to own every function: nothing is locked", async () => {
    const { set, benches, devices, task, resets } = await cardOf(3);
    const log = recordLocks(benches);
    expect(await outcome(set.hotReset(task, new Set(devices.slice(0, 2))))).toBe("EINVAL");
    await expect(set.hotReset(task, new Set())).rejects.toThrow(
      /card\.0 would be reset, and is not the caller's/,
    );
    expect(log).toEqual([]);
    expect(resets()).toEqual([0, 0, 0]);
    expectIntact(benches, task);
  });

  it("is EINVAL with a function on the bus that somebody else drives", async () => {
    const { set, benches, owned, task, resets } = await cardOf(2, { foreign: ["nic"] });
    await expect(set.hotReset(task, owned)).rejects.toThrow(
      "EINVAL: VFIO_DEVICE_PCI_HOT_RESET: nic on the same bus",
    );
    expect(resets()).toEqual([0, 0]);
    expectIntact(benches, task);
  });

  it("is EBUSY while one memoryLock is taken: what it has taken is released in reverse, no migration is touched", async () => {
    const { set, benches, devices, owned, task, resets } = await cardOf(3);
    await benches[0]!.reach(STOP_COPY);
    const reader = new Task("access");
    await devices[2]!.memoryLock.downRead(reader);
    const log = recordLocks(benches);
    expect(await outcome(set.hotReset(task, owned))).toBe("EBUSY");
    expect(log).toEqual(["+memoryLock 0", "+memoryLock 1", "-memoryLock 1", "-memoryLock 0"]);
    devices[2]!.memoryLock.upRead(reader);
    expect(resets()).toEqual([0, 0, 0]);
    expect(devices[0]!.migration!.state).toBe(STOP_COPY);
    expect(benches[0]!.card.calls).not.toContain("resetState");
    expectIntact(benches, task);
  });

  it("is EAGAIN while one deviceLock is taken: all deviceLocks or none", async () => {
    const { set, benches, devices, owned, task, resets } = await cardOf(3);
    await benches[0]!.reach(STOP_COPY);
    const other = new Task("unbind");
    await devices[1]!.deviceLock.lock(other);
    const log = recordLocks(benches);
    expect(await outcome(set.hotReset(task, owned))).toBe("EAGAIN");
    expect(log).toEqual([
      "+memoryLock 0",
      "+memoryLock 1",
      "+memoryLock 2",
      "+deviceLock 0",
      "-deviceLock 0",
      "-memoryLock 2",
      "-memoryLock 1",
      "-memoryLock 0",
    ]);
    devices[1]!.deviceLock.unlock(other);
    expect(resets()).toEqual([0, 0, 0]);
    expect(devices[0]!.migration!.state).toBe(STOP_COPY);
    expectIntact(benches, task);
  });

  it("that fails half way resets the migrations of those functions that were reset, and of no other", async () => {
    const { set, benches, devices, owned, task } = await cardOf(3);
    for (const bench of benches) await bench.reach(STOP_COPY);
    failResets(benches[1]!.card);
    expect(await outcome(set.hotReset(task, owned))).toBe("EIO");
    expect(devices.map(({ generation }) => generation)).toEqual([1, 0, 0]);
    expect(devices.map(({ migration }) => migration!.state)).toEqual([RUNNING, STOP_COPY, STOP_COPY]);
    expect(benches.map(({ card }) => card.calls.includes("resetState"))).toEqual([true, false, false]);
    expectIntact(benches, task);
  });

  it("calls each driver after the last memoryLock of the set is released, even if one driver fails", async () => {
    const { set, benches, devices, owned, task } = await cardOf(3);
    for (const bench of benches) await bench.reach(STOP_COPY);
    const log = recordLocks(benches);
    benches.forEach(({ card }, i) => {
      card.hook = (call) => {
        if (call !== "migrationResetState") return;
        log.push(`migrationResetState ${i}`);
        if (i === 0) throw new Error("the firmware does not answer");
      };
    });
    expect(await outcome(set.hotReset(task, owned))).toBe("EIO");
    expect(log.slice(-4)).toEqual([
      "-memoryLock 0",
      "migrationResetState 0",
      "migrationResetState 1",
      "migrationResetState 2",
    ]);
    expect(devices.map(({ migration }) => migration!.state)).toEqual([RUNNING, RUNNING, RUNNING]);
    expectIntact(benches, task);
  });

  it("that is still at work on another function does not disturb a new transition of one that it has reset", async () => {
    const { set, benches, devices, owned, task } = await cardOf(2);
    const { card } = benches[0]!;
    await benches[0]!.reach(STOP_COPY);
    card.calls.length = 0;
    const held = new Held(benches[1]!.card, "reset", true);
    const resetting = set.hotReset(task, owned);
    await held.entered;
    const client = new Task("client");
    await devices[0]!.migration!.setState(client, PRE_COPY); // from RUNNING, and not from STOP_COPY: that has no way
    expect(card.calls).toEqual(["reset", "resetState", "RUNNING->PRE_COPY"]);
    held.release();
    await resetting;
    expect(devices[0]!.migration!.state).toBe(PRE_COPY);
    expectIntact(benches, task, client);
  });

  it("brings functions in D3hot to D0 first; that transition may be a reset of its own", async () => {
    const { set, benches, devices, owned, task, resets } = await cardOf(2);
    await benches[1]!.powerState(3);
    await set.hotReset(task, owned);
    expect(resets()).toEqual([1, 2]);
    expect(devices.map(({ generation }) => generation)).toEqual([1, 2]);
    expectIntact(benches, task);
  });

  it("resumes suspended functions, and lets them go again", async () => {
    const { set, benches, devices, owned, task } = await cardOf(2, { idlePower: "D3cold" });
    await devices[0]!.openDevice(task);
    await devices[1]!.openDevice(task);
    await devices[1]!.closeDevice(task); // nobody uses it
    expect(devices[1]!.runtimePm.suspended).toBe(true);
    const awake: boolean[] = [];
    benches[1]!.card.hook = (call) => {
      if (call === "migrationResetState") awake.push(!devices[1]!.runtimePm.suspended);
    };
    await set.hotReset(task, owned);
    expect(awake.at(-1)).toBe(true);
    expect(devices[1]!.runtimePm.suspended).toBe(true);
    expect(devices[0]!.runtimePm.suspended).toBe(false);
    expectIntact(benches, task);
  });

  it("that cannot resume one function gives back those that it has resumed", async () => {
    const { set, benches, devices, owned, task, resets } = await cardOf(2, { idlePower: "D3cold" });
    for (const { device } of benches) {
      await device.openDevice(task);
      await device.runtimePm.lowPowerEntry(task);
    }
    benches[0]!.card.calls.length = benches[1]!.card.calls.length = 0;
    failResets(benches[1]!.card); // D3cold has lost its state, and it does not come back
    expect(await outcome(set.hotReset(task, owned))).toBe("EIO");
    expect(devices.map(({ runtimePm }) => runtimePm.suspended)).toEqual([true, true]);
    expect(resets()).toEqual([1, 1]); // by the resume
    benches[1]!.card.hook = () => undefined;
    await set.hotReset(task, owned);
    expect(devices.map(({ runtimePm }) => runtimePm.suspended)).toEqual([true, true]);
    expectIntact(benches, task);
  });
});

describe("needsReset", () => {
  it("is set by an open, and cleared by the reset on close", async () => {
    const { devices, task } = await cardOf(1);
    const device = devices[0]!;
    expect(device.needsReset).toBe(false);
    await device.openDevice(task);
    expect(device.needsReset).toBe(true);
    await device.reset(task);
    expect(device.needsReset).toBe(true); // it is still in use
    await device.closeDevice(task);
    expect(device.needsReset).toBe(false);
  });

  it("stays when the reset on close fails, until a bus reset works", async () => {
    const { benches, devices, task } = await cardOf(2);
    const [first, second] = devices as [Bench["device"], Bench["device"]];
    await first.openDevice(task);
    await second.openDevice(task);
    failResets(benches[0]!.card);
    await first.closeDevice(task);
    expect([first.needsReset, second.needsReset]).toEqual([true, true]); // the other is open: no bus reset
    benches[0]!.card.hook = () => undefined;
    const before = first.generation;
    await second.closeDevice(task);
    expect([first.needsReset, second.needsReset]).toEqual([false, false]);
    expect(first.generation).toBe(before + 1);
    expectIntact(benches, task);
  });

  it("stays when the bus reset fails as well, and the next last close tries again", async () => {
    const { benches, devices, task } = await cardOf(2);
    const [first, second] = devices as [Bench["device"], Bench["device"]];
    await first.openDevice(task);
    failResets(benches[0]!.card);
    await first.closeDevice(task);
    expect(first.needsReset).toBe(true);
    benches[0]!.card.hook = () => undefined;
    await second.openDevice(task);
    await second.closeDevice(task);
    expect(first.needsReset).toBe(false);
  });

  it("has no effect with a function on the bus that somebody else drives", async () => {
    const { benches, devices, task } = await cardOf(1, { foreign: ["nic"] });
    await devices[0]!.openDevice(task);
    failResets(benches[0]!.card);
    await devices[0]!.closeDevice(task);
    benches[0]!.card.hook = () => undefined;
    benches[0]!.card.calls.length = 0;
    await devices[0]!.set.tryReset(task);
    expect(benches[0]!.card.calls).toEqual([]);
    expect(devices[0]!.needsReset).toBe(true);
  });
});
