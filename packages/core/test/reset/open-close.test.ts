import "../../../../test/setup-lockdep.js";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { PciCommand, PciHeader, PowerState } from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import { DeviceFlags } from "@vfiokit/core/host";
import { Bench, heldLocks } from "./card.js";
import { Held, cancellable, expectIntact, outcome } from "./faults.js";
import { failResets } from "./paths.js";

const { ERROR, RUNNING, STOP, STOP_COPY } = MigrationState;

describe("openDevice", () => {
  it("tries a reset at the first open, and at no other", async () => {
    const { device, card, task } = new Bench();
    await device.openDevice(task);
    await device.openDevice(task);
    expect(card.calls).toEqual(["reset", "resetState"]);
    expect(device.openCount).toBe(2);
  });

  it("brings the function to D0 first (Linux: pci_enable_device)", async () => {
    const bench = new Bench({ noSoftReset: true });
    const { device, card, task } = bench;
    await bench.powerState(PowerState.D3HOT);
    failResets(card); // so that it is not the reset that does it
    await device.openDevice(task);
    const { pm } = device.capabilities;
    expect(device.config.get16(pm!.offset + 4) & 3).toBe(PowerState.D0);
  });

  it("fails with EAGAIN while somebody else is at the device, and leaves it as it was", async () => {
    const { device, card, task } = new Bench({ idlePower: "D3cold" });
    const other = new Task("unbind");
    await device.deviceLock.lock(other);
    expect(await outcome(device.openDevice(task))).toBe("EAGAIN");
    device.deviceLock.unlock(other);
    expect(device.openCount).toBe(0);
    expect(device.needsReset).toBe(false);
    expect(device.runtimePm.suspended).toBe(true);
    expect(card.calls).toEqual([]);
    expect(heldLocks(device)).toEqual([]);
  });

  it("finds out whether the reset works: if not, none is offered and VFIO_DEVICE_RESET is EINVAL", async () => {
    const { device, card, task } = new Bench();
    failResets(card);
    await device.openDevice(task);
    expect(device.resetWorks).toBe(false);
    expect(device.info().flags & DeviceFlags.RESET).toBe(0);
    card.calls.length = 0;
    expect(await outcome(device.reset(task))).toBe("EINVAL");
    expect(card.calls).toEqual([]);
    // An FLR is tried all the same: Linux does not look at reset_works there.
    card.hook = () => undefined;
    await device.reset(task, "flr-pcie");
    expect(device.generation).toBe(1);
  });

  it("finds out anew at the next first open", async () => {
    const { device, card, task } = new Bench();
    failResets(card);
    await device.openDevice(task);
    await device.closeDevice(task);
    card.hook = () => undefined;
    await device.openDevice(task);
    expect(device.resetWorks).toBe(true);
  });

  it("fails for a client that is cancelled during the reset: not open, no verdict on the reset", async () => {
    const { device, card } = new Bench();
    const held = new Held(card, "reset", true);
    const { task, cancel } = cancellable("client");
    const opening = outcome(device.openDevice(task));
    await held.entered;
    cancel();
    expect(await opening).toBe("cancelled");
    expect(device.openCount).toBe(0);
    expect(device.resetWorks).toBe(true);
    expect(heldLocks(device)).toEqual([]);
  });

  it("waits for a hot reset of its set, and a hot reset for it", async () => {
    const { device, card, task } = new Bench();
    const held = new Held(card, "reset", true);
    const opening = device.openDevice(task);
    await held.entered;
    const hot = new Task("hot reset");
    const resetting = device.set.hotReset(hot, new Set([device]));
    expect(card.calls).toEqual(["reset"]);
    held.release();
    await Promise.all([opening, resetting]);
    expect(device.generation).toBe(2);
    expect(heldLocks(device)).toEqual([]);
  });
});

describe("closeDevice", () => {
  it("is EBADF for a device that is not open", async () => {
    const { device, task } = new Bench();
    expect(await outcome(device.closeDevice(task))).toBe("EBADF");
    expect(heldLocks(device)).toEqual([]);
  });

  it("does nothing but count while another client has the device open", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await device.openDevice(task);
    await device.openDevice(task);
    await bench.use();
    await device.closeDevice(task);
    expect(card.calls).toEqual([]);
    expect(bench.clientIs).toBe("kept");
  });

  it("in the middle of a migration: abandoned, then reset", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await device.openDevice(task);
    await bench.use();
    await bench.reach(STOP_COPY);
    card.calls.length = 0;
    await device.closeDevice(task);
    expect(card.calls).toEqual(["resetState", "reset", "resetState"]);
    expect(device.migration!.state).toBe(RUNNING);
    expect(device.migration!.sessionOpen).toBe(false);
    expect(bench.clientIs).toBe("dropped");
    expect(bench.mapping.isPresent).toBe(false);
    expectIntact([bench]);
  });

  it("in the middle of a transition: the transition is aborted", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await device.openDevice(task);
    await bench.use();
    const held = new Held(card, "migrationSetState", true);
    const moving = outcome(device.migration!.setState(task, STOP));
    await held.entered;
    const closing = new Task("close");
    await device.closeDevice(closing);
    expect(await moving).toBe("ECANCELED");
    expect(device.migration!.state).toBe(RUNNING);
    expectIntact([bench], closing);
  });

  it("after a failed transition: only the reset leads out of ERROR", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await device.openDevice(task);
    await bench.reach(ERROR);
    failResets(card);
    await device.closeDevice(task);
    expect(device.migration!.state).toBe(ERROR);
    card.hook = () => undefined;
    await device.openDevice(task);
    expect(device.migration!.state).toBe(RUNNING);
  });

  it("is done to its end when the driver fails: reset, nothing of the client's left, and the failure told", async () => {
    const bench = new Bench({ idlePower: "D3hot" });
    const { device, card, task } = bench;
    await device.openDevice(task);
    await bench.use();
    await bench.reach(STOP);
    const before = device.generation;
    card.hook = (call) => {
      if (call === "migrationResetState") throw new Error("the firmware does not answer");
    };
    expect(await outcome(device.closeDevice(task))).toBe("EIO");
    expect(device.openCount).toBe(0);
    expect(device.generation).toBe(before + 1);
    expect(device.migration!.state).toBe(RUNNING);
    expect(bench.clientIs).toBe("dropped");
    expect(device.runtimePm.suspended).toBe(true);
    expectIntact([bench]);
  });

  it("is done to its end for a cancelled client that would have to wait for a lock", async () => {
    const bench = new Bench({ idlePower: "D3hot" });
    const { device } = bench;
    const { task, cancel } = cancellable("client");
    await device.openDevice(bench.task);
    await bench.use();
    const other = new Task("set_irqs");
    await device.irqs.igate.lock(other);
    cancel();
    expect(await outcome(device.closeDevice(task))).toBe("cancelled");
    device.irqs.igate.unlock(other);
    expect(device.openCount).toBe(0);
    expect(device.dma.mapCount).toBe(0);
    expect(device.runtimePm.suspended).toBe(true);
    expect(device.needsReset).toBe(false);
    expectIntact([bench], task);
  });
});

describe("a client that disconnects", () => {
  it("while a transition fails into ERROR leaves a device that was reset", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await bench.use();
    const held = new Held(card, "migrationSetState", true);
    card.reported = ERROR;
    const moving = outcome(device.migration!.setState(task, STOP));
    await held.entered;
    await device.disconnect(new Task("disconnect")); // its abort is what makes the transition fail
    card.reported = undefined;
    expect(await moving).toBe("ECANCELED");
    expect(device.migration!.state).toBe(RUNNING);
    expect(device.generation).toBe(1);
    expectIntact([bench]);
  });

  it("is dropped to the end when the device's reset fails: it stays in ERROR for the administrator", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await bench.use();
    await bench.reach(ERROR);
    failResets(card);
    expect(await outcome(device.disconnect(task))).toBe("EIO");
    expect(bench.clientIs).toBe("dropped");
    expect(device.migration!.state).toBe(ERROR);
    card.hook = () => undefined;
    await device.reset(task, "sysfs");
    expect(device.migration!.state).toBe(RUNNING);
  });
});

describe("a card that was pulled out", () => {
  it("cannot be reset by anybody: ENODEV, and the driver is not asked", async () => {
    const bench = new Bench();
    const { device, card, task } = bench;
    await device.openDevice(task);
    await bench.reach(STOP_COPY);
    await device.removeBySurprise(new Task("admin"));
    const before = device.generation;
    card.calls.length = 0;
    for (const initiator of ["ioctl", "sysfs", "slot-reset"] as const)
      expect(await outcome(device.reset(task, initiator))).toBe("ENODEV");
    expect(await outcome(device.set.hotReset(task, new Set([device])))).toBe("ENODEV");
    expect(device.generation).toBe(before);
    expect(card.calls).toEqual([]);
    await device.closeDevice(task); // as far as it goes
    expect(device.openCount).toBe(0);
    expectIntact([bench]);
  });
});

describe("a mapping of a BAR", () => {
  it("is zapped before the function is reset, and can be faulted in again when software has enabled memory", async () => {
    const bench = new Bench();
    const { device, card, mapping, task } = bench;
    await bench.use();
    expect(mapping.isPresent).toBe(true);
    const present: boolean[] = [];
    card.hook = (call) => {
      if (call === "reset") present.push(mapping.isPresent);
    };
    await device.reset(task);
    expect(present).toEqual([false]);
    expect(await outcome(async () => mapping.fault(task))).toBe("EIO"); // Linux: SIGBUS
    expect(() => mapping.bytes).toThrow("EFAULT");
    await bench.writeConfig(PciHeader.COMMAND, PciCommand.MEMORY, 2);
    await mapping.fault(task);
    expect(mapping.isPresent).toBe(true);
    expectIntact([bench]);
  });

  it("is zapped in vain where the reset fails: the next touch faults it in", async () => {
    const bench = new Bench();
    const { device, card, mapping, task } = bench;
    await bench.use();
    failResets(card);
    await outcome(device.reset(task));
    expect(mapping.isPresent).toBe(false);
    await mapping.fault(task);
    expect(mapping.isPresent).toBe(true);
  });

  it("faults only when the reset that holds memoryLock is over", async () => {
    const bench = new Bench();
    const { device, card, mapping, task } = bench;
    await bench.use();
    const held = new Held(card, "reset", true);
    const resetting = device.reset(task);
    await held.entered;
    const toucher = new Task("touch");
    const touching = outcome(async () => mapping.fault(toucher));
    await new Promise((resolve) => setImmediate(resolve));
    expect(mapping.isPresent).toBe(false);
    held.release();
    await resetting;
    expect(await touching).toBe("EIO"); // memory is disabled after a reset
    expectIntact([bench], toucher);
  });

  it("is zapped when memory is disabled, and in D3hot", async () => {
    const bench = new Bench({ noSoftReset: true });
    const { mapping, task } = bench;
    await bench.use();
    await bench.writeConfig(PciHeader.COMMAND, 0, 2);
    expect(mapping.isPresent).toBe(false);
    expect(await outcome(async () => mapping.fault(task))).toBe("EIO");
    await bench.writeConfig(PciHeader.COMMAND, PciCommand.MEMORY, 2);
    await mapping.fault(task);
    await bench.powerState(PowerState.D3HOT);
    expect(mapping.isPresent).toBe(false);
    await bench.powerState(PowerState.D0);
    await mapping.fault(task);
    expect(mapping.isPresent).toBe(true);
  });
});
