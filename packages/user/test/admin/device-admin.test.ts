import { describe, expect, it } from "vitest";
import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { PciErr, PciErrCor, PciErrUncor, PciExp, PciExpDevsta } from "@vfiokit/core/pci";
import { MigrationState, newHandOverId } from "@vfiokit/core/migration";
import { Mutex, Task } from "@vfiokit/lockdep";
import { DeviceAdmin } from "@vfiokit/user";
import { BAR_REGISTERS, Fixture, testDevice, VALUE } from "../server/support.js";

// The administrator's side of a device, in the process that serves it.

function setUp(options: { migratable?: boolean } = {}) {
  const { device, fn } = testDevice(options);
  return { device, fn, admin: new DeviceAdmin(device), task: new Task("test") };
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A promise that a test opens. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe("info", () => {
  it("names the device and tells its state", () => {
    expect(setUp().admin.info()).toEqual({
      name: "test",
      id: "1b36:0101",
      connected: false,
      openCount: 0,
      paused: false,
      stopped: [],
      intxMasked: false,
      removed: false,
      faults: { count: 0, failed: false },
      generation: 0,
      migratable: true,
      handOver: { phase: "none" },
      set: ["test"],
    });
  });

  it("knows whether a client is connected, and how many clients have it open", async () => {
    const fixture = await Fixture.open();
    const admin = new DeviceAdmin(fixture.device, fixture.server);
    const task = new Task("test");
    expect(admin.info()).toMatchObject({ connected: true, openCount: 1 });
    await fixture.device.openDevice(task);
    expect(admin.info().openCount).toBe(2);
    await fixture.device.closeDevice(task);
    await fixture.close();
    expect(admin.info()).toMatchObject({ connected: false, openCount: 0 });
  });
});

describe("reset", () => {
  it("resets the device as sysfs does, in a migration too", async () => {
    const { admin, device, fn, task } = setUp();
    fn.value = 7;
    await device.migration!.setState(task, MigrationState.STOP_COPY);
    expect(await admin.reset()).toEqual({ generation: 1 });
    expect(fn.value).toBe(0);
    expect(admin.migration().state).toBe("RUNNING");
  });

  it("waits for whoever resets the device already, and gives up when told to", async () => {
    const { admin, device, fn, task } = setUp();
    void device.deviceLock.lock(task);
    const abort = new AbortController();
    const given = admin.reset(abort.signal);
    const waiting = admin.reset();
    abort.abort(new Error("never mind"));
    await expect(given).rejects.toThrow("never mind");
    expect(fn.resets).toBe(0);
    device.deviceLock.unlock(task);
    expect(await waiting).toEqual({ generation: 1 });
    expect(admin.tasks()).toEqual([]);
  });
});

describe("hot reset", () => {
  it("resets every function of the set, whoever has them open", async () => {
    const { admin, device, task } = setUp();
    await device.openDevice(task);
    const before = device.generation;
    expect(await admin.hotReset()).toEqual({ functions: [{ name: "test", generation: before + 1 }] });
  });

  it("is refused while a function is being accessed, and has then reset nothing", async () => {
    const { admin, device, fn, task } = setUp();
    void device.memoryLock.downRead(task);
    await expect(admin.hotReset()).rejects.toThrow(/EBUSY: .*memoryLock of test is taken/);
    expect(fn.resets).toBe(0);
    device.memoryLock.upRead(task);
    expect(device.set.lock.holders()).toEqual([]);
  });
});

describe("inject", () => {
  const aerOf = (device: ReturnType<typeof setUp>["device"], register: number) =>
    device.config.get32(device.capabilities.aer!.offset + register);

  it.each([
    ["correctable", PciErr.COR_STATUS, PciErrCor.BAD_TLP, 0, PciExpDevsta.CED],
    ["nonfatal", PciErr.UNCOR_STATUS, PciErrUncor.COMP_TIME, 1, PciExpDevsta.NFED],
    ["fatal", PciErr.UNCOR_STATUS, PciErrUncor.MALF_TLP, 1, PciExpDevsta.FED],
  ] as const)(
    "%s: Device Status and the AER status have it; ERR tells of an uncorrectable one",
    (kind, register, bit, signals, detected) => {
      const { admin, device, task } = setUp();
      let signalled = 0;
      const trigger = { signal: () => (signalled += 1), close: () => undefined };
      void device.setIrqs(task, {
        index: IrqIndex.ERR,
        start: 0,
        count: 1,
        action: "trigger",
        data: { triggers: [trigger] },
      });
      expect(admin.inject(kind)).toEqual({ error: kind });
      expect(aerOf(device, register) & bit).toBe(bit);
      expect(signalled).toBe(signals);
      const { express } = device.capabilities;
      expect(device.config.get16(express!.offset + PciExp.DEVSTA) & 7).toBe(detected);
    },
  );
});

describe("remove", () => {
  it("pulls the card out: reads give ones, and nothing brings it back", async () => {
    const { admin, device, task } = setUp();
    expect(await admin.remove()).toEqual({ removed: true });
    const bytes = new Uint8Array(4);
    await device.readRegion(task, BAR_REGISTERS, VALUE, 4, bytes, 0);
    await device.readRegion(task, RegionIndex.CONFIG, 0, 4, bytes, 0);
    expect([...bytes]).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect(admin.info()).toMatchObject({ removed: true });
    await expect(admin.reset()).rejects.toThrow(/ENODEV/);
    await expect(admin.hotReset()).rejects.toThrow(/ENODEV/);
    await expect(admin.remove()).rejects.toThrow(/ENODEV: test was removed/);
    for (const act of [() => admin.pause(), () => admin.resume(), () => admin.inject("fatal")])
      expect(act).toThrow(/ENODEV: test was removed/);
  });
});

describe("pause and resume", () => {
  it("stop and start the device's worker; its registers can be accessed meanwhile", async () => {
    const { admin, device, fn, task } = setUp();
    const calls: string[] = [];
    Object.assign(fn, { stop: () => calls.push("stop"), run: () => calls.push("run") });
    expect(admin.pause()).toEqual({ paused: true });
    expect(admin.pause()).toEqual({ paused: true });
    fn.value = 5;
    const bytes = new Uint8Array(4);
    await device.readRegion(task, BAR_REGISTERS, VALUE, 4, bytes, 0);
    expect(bytes[0]).toBe(5);
    expect(admin.resume()).toEqual({ paused: false });
    expect(calls).toEqual(["stop", "run"]);
  });

  it("a pause outlives a reset and a migration", async () => {
    const { admin, device, task } = setUp();
    admin.pause();
    await admin.reset();
    await device.migration!.setState(task, MigrationState.STOP);
    await device.migration!.setState(task, MigrationState.RUNNING);
    expect(admin.info().paused).toBe(true);
  });
});

describe("migration", () => {
  it("tells the state, the generation, and whether a session is open", async () => {
    const { admin, device, task } = setUp();
    expect(admin.migration()).toEqual({ state: "RUNNING", generation: 0, sessionOpen: false });
    await device.migration!.setState(task, MigrationState.STOP_COPY);
    expect(admin.migration()).toEqual({ state: "STOP_COPY", generation: 0, sessionOpen: true });
    await device.migration!.setState(task, MigrationState.STOP);
    expect(admin.migration()).toEqual({ state: "STOP", generation: 0, sessionOpen: false });
    await device.migration!.setState(task, MigrationState.RESUMING);
    expect(admin.migration().sessionOpen).toBe(true);
    await admin.reset();
    expect(admin.migration()).toEqual({ state: "RUNNING", generation: 1, sessionOpen: false });
  });

  it("ENOTTY for a device that cannot be migrated", () => {
    const { admin } = setUp({ migratable: false });
    expect(() => admin.migration()).toThrow(/ENOTTY: test cannot be migrated/);
    expect(admin.info().migratable).toBe(false);
  });
});

describe("stream", () => {
  it("tells the sections with their versions, and the sizes of those that are memory", () => {
    const { format, sections } = setUp().admin.stream();
    expect(format).toBe(2);
    expect(sections).toContainEqual({ name: "pci.config", version: 1, optional: false });
    expect(sections).toContainEqual({ name: "pci.bar2", version: 1, optional: false, size: 0x4000 });
  });

  it("ENOTTY for a device that cannot be migrated", () => {
    expect(() => setUp({ migratable: false }).admin.stream()).toThrow(/ENOTTY: test cannot be migrated/);
  });
});

describe("hand-over", () => {
  it("takes the steps, and tells where it is and how it ended", async () => {
    const { admin, device, task } = setUp();
    const { instance } = await admin.handOver({ step: "status" });
    const id = newHandOverId(instance);
    await device.migration!.setState(task, MigrationState.STOP_COPY);
    const since = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as unknown;
    const to = "/run/b.sock";
    const given = { phase: "given", id, to, since, wasReset: false, state: "STOP", generation: 0, instance };
    expect(await admin.handOver({ step: "give", id, to })).toEqual(given);
    expect(await admin.handOver({ step: "status", id })).toEqual(given);
    expect(admin.info().handOver).toEqual({ phase: "given", id, to, since });
    const ended = { phase: "none", wasReset: false, outcome: "taken back", state: "RUNNING" };
    expect(await admin.handOver({ step: "take-back", id })).toMatchObject(ended);
    await expect(admin.handOver({ step: "activate", id })).rejects.toThrow(
      /ECANCELED: .*is over: taken back/,
    );
    await expect(admin.handOver({ step: "give", id: "12" })).rejects.toThrow(/EINVAL: hand-over id "12"/);
  });

  it("ENOTTY for a device that cannot be migrated; ENODEV for one that was removed", async () => {
    const other = setUp({ migratable: false });
    await expect(other.admin.handOver({ step: "status" })).rejects.toThrow(/ENOTTY/);
    expect(other.admin.info()).not.toHaveProperty("handOver");
    const { admin } = setUp();
    await admin.remove();
    await expect(admin.handOver({ step: "take-back", id: "0".repeat(32) })).rejects.toThrow(/ENODEV/);
    expect(await admin.handOver({ step: "status" })).toMatchObject({ phase: "none" });
  });
});

describe("tasks", () => {
  it("none on a quiet device without a client; the client's, idle, with one", async () => {
    const fixture = await Fixture.open();
    const admin = new DeviceAdmin(fixture.device, fixture.server);
    expect(admin.tasks()).toMatchObject([{ name: "client", holds: [], waits: [] }]);
    await fixture.close();
    expect(admin.tasks()).toEqual([]);
  });

  it("a command that waits, the lock that it waits for, and who has that", async () => {
    const fixture = await Fixture.open();
    const admin = new DeviceAdmin(fixture.device, fixture.server);
    const { opened, open } = gate();
    fixture.fn.resetGate = opened;
    const hung = fixture.client.call("DEVICE_RESET", {});
    while (fixture.fn.resets === 0) await nextTurn();
    const behind = admin.reset();
    await nextTurn();
    const [client, us] = admin.tasks();
    expect(client).toMatchObject({
      name: "client",
      holds: [
        { lock: "memoryLock", device: "test", mode: "write" },
        { lock: "deviceLock", device: "test", mode: "exclusive" },
      ],
      waits: [],
    });
    expect(us).toMatchObject({
      name: "admin reset",
      holds: [],
      waits: [{ lock: "deviceLock", device: "test", mode: "exclusive", heldBy: [client!.id] }],
    });
    expect(us!.waits[0]!.milliseconds).toBeGreaterThanOrEqual(0);
    open();
    await hung;
    await behind;
    expect(admin.tasks()).toMatchObject([{ name: "client", holds: [], waits: [] }]);
    await fixture.close();
  });

  it("from task to lock and from lock to task: a knot is shown whole", async () => {
    const { admin, device } = setUp();
    const session = new Mutex("session.lock"); // of a session that has ended: no device leads to it
    const [saver, resetter, reader, closer] = ["saver", "resetter", "reader", "closer"].map(
      (name) => new Task(name),
    ) as [Task, Task, Task, Task];
    const { stateMutex } = device.migration!;
    void stateMutex.lock(saver);
    void session.lock(reader);
    void device.dma.mmapLock.downRead(reader);
    const waits = [
      stateMutex.lock(resetter),
      device.dma.mmapLock.downWrite(saver),
      session.lock(closer),
    ] as Promise<void>[];
    expect(admin.tasks()).toMatchObject([
      {
        name: "saver",
        holds: [{ lock: "stateMutex", device: "test" }],
        waits: [{ lock: "mmapLock", device: "test", mode: "write", heldBy: [reader.id] }],
      },
      { name: "resetter", holds: [], waits: [{ lock: "stateMutex", heldBy: [saver.id] }] },
      { name: "reader", holds: [{ lock: "session.lock" }, { lock: "mmapLock", mode: "read" }], waits: [] },
      { name: "closer", holds: [], waits: [{ lock: "session.lock", heldBy: [reader.id] }] },
    ]);
    session.unlock(reader);
    device.dma.mmapLock.upRead(reader);
    await Promise.all(waits.slice(1));
    session.unlock(closer);
    device.dma.mmapLock.upWrite(saver);
    stateMutex.unlock(saver);
    await waits[0];
    stateMutex.unlock(resetter);
  });
});
