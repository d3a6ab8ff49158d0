import "../../../../test/setup-lockdep.js";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import type { IdlePower } from "@vfiokit/core";
import { PowerState } from "@vfiokit/core/pci";
import { CountingTrigger } from "../irq/trigger.js";
import { BAR_MEMORY, Bench, CONFIG, SENTINEL, heldLocks } from "./card.js";
import { Held, cancellable, expectIntact, outcome } from "./faults.js";
import { failResets } from "./paths.js";

/** Opened and in use. */
async function opened(idlePower: IdlePower, noSoftReset = false): Promise<Bench> {
  const bench = new Bench({ idlePower, noSoftReset });
  await bench.device.openDevice(bench.task);
  await bench.use();
  return bench;
}

const readConfig = ({ device }: Bench, task: Task) =>
  outcome(async () => device.readRegion(task, CONFIG, 0, 4, new Uint8Array(4), 0));
const readBar = ({ device }: Bench, task: Task) =>
  outcome(async () => device.readRegion(task, BAR_MEMORY, 0, 4, new Uint8Array(4), 0));

describe("a device that nobody uses", () => {
  for (const [idle, noSoftReset, lost] of [
    ["D0", false, undefined],
    ["D3hot", true, false],
    ["D3hot", false, true],
    ["D3cold", true, true],
  ] as const) {
    it(`${lost === undefined ? "stays in D0" : `is suspended to ${idle}`}${
      noSoftReset ? " (No_Soft_Reset)" : ""
    }${lost === undefined ? ", with disable_idle_d3" : lost ? ", and resuming it is a reset" : ", and keeps its registers"}`, async () => {
      const { device, card, task } = await opened(idle, noSoftReset);
      await device.closeDevice(task);
      expect(device.runtimePm.suspended).toBe(lost !== undefined);
      const before = device.generation;
      card.calls.length = 0;
      card.value = 42;
      await device.runtimePm.get(task);
      expect(device.runtimePm.suspended).toBe(false);
      expect(device.generation - before).toBe(lost ? 1 : 0);
      expect(card.value).toBe(lost ? 0 : 42);
      device.runtimePm.put();
      expect(device.runtimePm.suspended).toBe(lost !== undefined);
    });
  }

  it("is resumed once for all that need it at the same time", async () => {
    const bench = await opened("D3cold");
    const { device, card } = bench;
    await device.closeDevice(bench.task);
    card.calls.length = 0;
    const held = new Held(card, "reset", true);
    const tasks = [new Task("a"), new Task("b"), new Task("c")];
    const reading = Promise.all(tasks.map((task) => readConfig(bench, task)));
    await held.entered;
    held.release();
    expect(await reading).toEqual(["0", "0", "0"]);
    expect(card.calls.filter((call) => call === "reset")).toHaveLength(1);
    expect(device.runtimePm.suspended).toBe(true);
    expectIntact([bench], ...tasks);
  });

  it("is resumed for the others when who began it is cancelled", async () => {
    const bench = await opened("D3cold");
    const { device, card } = bench;
    await device.closeDevice(bench.task);
    const { task, cancel } = cancellable("first");
    const held = new Held(card, "reset", true);
    const first = readConfig(bench, task);
    await held.entered;
    const other = new Task("other");
    const second = readConfig(bench, other);
    cancel();
    expect(await first).toBe("cancelled");
    expect(await second).toBe("0");
    expect(device.runtimePm.suspended).toBe(true); // and both are gone again
    expectIntact([bench], task, other);
  });

  it("stays suspended when it cannot be resumed, and can be tried again", async () => {
    const bench = await opened("D3cold");
    const { device, card, task } = bench;
    await device.closeDevice(task);
    failResets(card);
    expect(await readConfig(bench, task)).toBe("EIO");
    expect(await outcome(device.openDevice(task))).toBe("EIO");
    expect(device.openCount).toBe(0);
    expect(device.runtimePm.suspended).toBe(true);
    card.hook = () => undefined;
    await device.openDevice(task);
    await device.closeDevice(task);
    expect(device.runtimePm.suspended).toBe(true);
    expectIntact([bench]);
  });
});

describe("low power entry", () => {
  it("is EINVAL for a device that is not open, and a second time", async () => {
    const { device, task } = new Bench();
    const trigger = new CountingTrigger();
    expect(await outcome(device.runtimePm.lowPowerEntry(task, trigger))).toBe("EINVAL");
    expect(trigger.closed).toBe(1);
    await device.openDevice(task);
    await device.runtimePm.lowPowerEntry(task);
    expect(await outcome(device.runtimePm.lowPowerEntry(task))).toBe("EINVAL");
    expect(heldLocks(device)).toEqual([]);
  });

  it("takes the BARs away until exit, while configuration space wakes the device for a moment", async () => {
    const bench = await opened("D3hot", true);
    const { device, mapping, task } = bench;
    await device.runtimePm.lowPowerEntry(task);
    expect(mapping.isPresent).toBe(false);
    expect(device.runtimePm.suspended).toBe(true);
    expect(await readBar(bench, task)).toBe("EIO");
    expect(await outcome(async () => mapping.fault(task))).toBe("EIO");
    expect(await readConfig(bench, task)).toBe("0");
    expect(device.runtimePm.suspended).toBe(true);
    expect(device.runtimePm.engaged).toBe(true);
    await device.runtimePm.lowPowerExit(task);
    expect(device.runtimePm.suspended).toBe(false);
    expect(await readBar(bench, task)).toBe("0");
    await device.runtimePm.lowPowerExit(task); // once more: nothing
    await device.closeDevice(task);
    expect(device.runtimePm.suspended).toBe(true);
    expectIntact([bench]);
  });

  it("suspends also where unused devices stay in D0 (disable_idle_d3): nothing is lost", async () => {
    const bench = await opened("D0");
    const { device, task } = bench;
    const trigger = new CountingTrigger();
    await device.runtimePm.lowPowerEntry(task, trigger);
    expect(device.runtimePm.suspended).toBe(true);
    expect(await readConfig(bench, task)).toBe("0");
    expect(trigger).toMatchObject({ signals: 1, closed: 1 });
    expect(bench.readConfig(0x3c)).toBe(SENTINEL);
    expect(await readBar(bench, task)).toBe("0");
    await device.closeDevice(task);
    expectIntact([bench]);
  });

  it("with wake-up: the device stays up once woken, says so once, and exit finds nothing to do", async () => {
    const bench = await opened("D3hot", true);
    const { device, task } = bench;
    const trigger = new CountingTrigger();
    await device.runtimePm.lowPowerEntry(task, trigger);
    expect(trigger.signals).toBe(0);
    const guest = new Task("somebody else");
    expect(await readConfig(bench, guest)).toBe("0");
    expect(trigger).toMatchObject({ signals: 1, closed: 1 });
    expect(device.runtimePm).toMatchObject({ suspended: false, engaged: false });
    expect(await readBar(bench, task)).toBe("0");
    await device.runtimePm.lowPowerExit(task);
    expect(trigger).toMatchObject({ signals: 1, closed: 1 });
    await device.closeDevice(task);
    expect(device.runtimePm.suspended).toBe(true);
    expectIntact([bench], guest);
  });

  it("with wake-up, then exit: exit wakes it, which says so", async () => {
    const { device, task } = await opened("D3hot", true);
    const trigger = new CountingTrigger();
    await device.runtimePm.lowPowerEntry(task, trigger);
    await device.runtimePm.lowPowerExit(task);
    expect(trigger).toMatchObject({ signals: 1, closed: 1 });
    expect(device.runtimePm).toMatchObject({ suspended: false, engaged: false });
    await device.closeDevice(task);
    expect(device.runtimePm.suspended).toBe(true);
  });

  for (const initiator of ["ioctl", "sysfs"] as const) {
    it(`ends for the time of a reset by ${initiator} (Linux: pm_runtime_resume_and_get around it)`, async () => {
      const bench = await opened("D3hot", true);
      const { device, card, task } = bench;
      await device.runtimePm.lowPowerEntry(task);
      const suspended: boolean[] = [];
      card.hook = (call) => {
        if (call === "reset") suspended.push(device.runtimePm.suspended);
      };
      await device.reset(task, initiator);
      expect(suspended).toEqual([false]);
      expect(device.runtimePm).toMatchObject({ suspended: true, engaged: true });
      expectIntact([bench]);
    });
  }

  it("is left by the close of its client, also if the device cannot be resumed", async () => {
    for (const fails of [false, true]) {
      const bench = await opened("D3cold");
      const { device, card, task } = bench;
      const trigger = new CountingTrigger();
      await device.runtimePm.lowPowerEntry(task, trigger);
      if (fails) failResets(card);
      expect(await outcome(device.closeDevice(task))).toBe(fails ? "EIO" : "0");
      expect(trigger.closed).toBe(1);
      expect(device.runtimePm).toMatchObject({ suspended: true, engaged: false });
      card.hook = () => undefined;
      await device.openDevice(task);
      expect(device.runtimePm.suspended).toBe(false);
      await device.runtimePm.lowPowerEntry(task);
      expect(device.runtimePm.suspended).toBe(true); // the count is right: one client, which gave it up
      expectIntact([bench]);
    }
  });

  it("exit that is cancelled while it waits leaves the device as it was", async () => {
    const bench = await opened("D3hot", true);
    const { device } = bench;
    await device.runtimePm.lowPowerEntry(bench.task);
    const reader = new Task("access");
    await device.memoryLock.downRead(reader);
    const { task, cancel } = cancellable("client");
    const exiting = outcome(device.runtimePm.lowPowerExit(task));
    await new Promise((resolve) => setImmediate(resolve));
    cancel();
    expect(await exiting).toBe("cancelled");
    device.memoryLock.upRead(reader);
    expect(device.runtimePm).toMatchObject({ suspended: true, engaged: true });
    await device.runtimePm.lowPowerExit(bench.task);
    expect(device.runtimePm).toMatchObject({ suspended: false, engaged: false });
    await device.closeDevice(bench.task);
    expect(device.runtimePm.suspended).toBe(true);
    expectIntact([bench], task);
  });
});

describe("D3hot", () => {
  it("to D0 resets the function without No_Soft_Reset, once, and keeps its registers with it", async () => {
    for (const noSoftReset of [false, true]) {
      const bench = new Bench({ noSoftReset });
      await bench.use();
      await bench.powerState(PowerState.D3HOT);
      expect(bench.device.generation).toBe(0);
      await bench.powerState(PowerState.D0);
      await bench.powerState(PowerState.D0);
      expect(bench.device.generation).toBe(noSoftReset ? 0 : 1);
      expect(bench.configIs).toBe(noSoftReset ? "untouched" : "power-on");
      expectIntact([bench]);
    }
  });

  it("is left before VFIO_DEVICE_RESET resets: without No_Soft_Reset that is a reset of its own", async () => {
    const bench = new Bench();
    await bench.use();
    await bench.powerState(PowerState.D3HOT);
    await bench.device.reset(bench.task);
    expect(bench.device.generation).toBe(2);
    expect(bench.card.calls.filter((call) => call === "reset")).toHaveLength(2);
    expect(bench.card.calls.filter((call) => call === "resetState")).toHaveLength(1); // one for both
  });

  it("that was left counts, even if the reset asked for then fails", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await bench.use();
    await bench.reach(3);
    await bench.powerState(PowerState.D3HOT);
    let resets = 0;
    card.hook = (call) => {
      if (call === "reset" && ++resets === 2) throw new Error("the firmware does not answer");
    };
    expect(await outcome(device.reset(task))).toBe("EIO");
    expect(device.generation).toBe(1);
    expect(device.migration!.state).toBe(2);
    expectIntact([bench]);
  });
});
