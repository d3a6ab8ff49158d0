import "../../../../test/setup-lockdep.js";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { VfioError } from "@vfiokit/core";
import { MigrationState, migrationStateName } from "@vfiokit/core/migration";
import { initiators, type ResetInitiator } from "@vfiokit/core/lab";
import { Bench, sessionStates, type Card, type DriverCall } from "./card.js";
import { Held, cancellable, expectIntact, outcome } from "./faults.js";
import { paths, prepare } from "./paths.js";

const { ERROR, RUNNING, STOP, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } = MigrationState;
const every = Object.keys(initiators) as ResetInitiator[];

/** The single arcs of the uAPI. */
const arcs: readonly [MigrationState, MigrationState][] = [
  [STOP, RUNNING_P2P],
  [STOP, STOP_COPY],
  [STOP, RESUMING],
  [RUNNING, RUNNING_P2P],
  [RUNNING, PRE_COPY],
  [STOP_COPY, STOP],
  [RESUMING, STOP],
  [RUNNING_P2P, RUNNING],
  [RUNNING_P2P, STOP],
  [RUNNING_P2P, PRE_COPY_P2P],
  [PRE_COPY, RUNNING],
  [PRE_COPY, PRE_COPY_P2P],
  [PRE_COPY_P2P, RUNNING_P2P],
  [PRE_COPY_P2P, PRE_COPY],
  [PRE_COPY_P2P, STOP_COPY],
];

const thrown = {
  ENOSPC: () => new VfioError("ENOSPC", "the firmware has no memory left"),
  EIO: () => new Error("something unexpected"), // anything that is no VfioError
};

function throwOn(card: Card, on: DriverCall, make: () => Error): void {
  card.hook = (call) => {
    if (call === on) throw make();
  };
}

async function inUse(state: MigrationState = RUNNING): Promise<Bench> {
  const bench = new Bench();
  await bench.use();
  await bench.reach(state);
  bench.card.calls.length = 0;
  return bench;
}

const isAlive = async ({ device, task }: Bench): Promise<boolean> => {
  const { migration } = device;
  return (
    (await outcome(() => migration!.readData(task, new Uint8Array(4)))) === "0" ||
    (await outcome(() => migration!.writeData(task, new Uint8Array(4)))) === "0"
  );
};

describe("function.reset", () => {
  /** Of these the caller hears; a configuration write does not fail for it, and a close has nobody to tell. */
  const told: readonly ResetInitiator[] = [
    "ioctl",
    "hot-reset",
    "sysfs",
    "slot-reset",
    "runtime-resume",
    "disconnect",
  ];

  for (const initiator of every) {
    describe(initiators[initiator].title, () => {
      const reach = (bench: Bench) => bench.reach(initiator === "disconnect" ? ERROR : STOP_COPY);

      for (const [errno, make] of Object.entries(thrown)) {
        it(`that throws: ${told.includes(initiator) ? errno : "not told"}, no reset`, async () => {
          const { benches } = await prepare(initiator, "present", reach);
          const { device, card } = benches[0]!;
          const before = device.generation;
          for (const bench of benches) throwOn(bench.card, "reset", make);
          const task = new Task(initiator);
          expect(await outcome(paths[initiator].trigger(benches, task))).toBe(
            told.includes(initiator) ? errno : "0",
          );
          expect(card.calls).toContain("reset");
          expect(device.generation).toBe(before);
          expectIntact(benches, task);
        });
      }

      it("that hangs until the caller is cancelled: no reset, nothing held", async () => {
        const { benches } = await prepare(initiator, "present", reach);
        const { device, card } = benches[0]!;
        const before = device.generation;
        const held = new Held(card, "reset", true);
        const { task, cancel } = cancellable(initiator);
        const ending = outcome(paths[initiator].trigger(benches, task));
        await held.entered;
        cancel();
        const closes = initiator === "disable" || initiator === "last-close"; // the file is closed all the same
        expect(await ending).toBe(closes ? "0" : "cancelled");
        // The bus reset that a close tries next finds the function willing again.
        expect(device.generation).toBe(initiator === "disable" ? before + 1 : before);
        expectIntact(benches, task);
      });
    });
  }

  it("that ends late, after a reset by another path: both count, and the record is of the last", async () => {
    const bench = await inUse(STOP_COPY);
    const { device, card } = bench;
    await bench.powerState(3);
    const held = new Held(card, "reset", false);
    const slow = new Task("sysfs"); // holds deviceLock, which a power transition does not look at
    const sysfs = device.reset(slow, "sysfs");
    await held.entered;
    await bench.powerState(0);
    expect(device.generation).toBe(1);
    await device.migration!.setState(bench.task, STOP);
    held.release();
    await sysfs;
    expect(device.generation).toBe(2);
    expect(device.migration!.state).toBe(RUNNING);
    expectIntact([bench], slow);
  });
});

describe("migrationSetState", () => {
  for (const [from, to] of arcs) {
    describe(`${migrationStateName(from)} -> ${migrationStateName(to)}`, () => {
      for (const [errno, make] of Object.entries(thrown)) {
        for (const [after, reported] of [
          ["the arc's start", undefined],
          ["ERROR", ERROR],
        ] as const) {
          it(`that throws: ${errno}, and the state is ${after}`, async () => {
            const bench = await inUse(from);
            const { device, card, task } = bench;
            throwOn(card, "migrationSetState", make);
            card.reported = reported;
            expect(await outcome(device.migration!.setState(task, to))).toBe(errno);
            card.hook = () => undefined;
            expect(device.migration!.state).toBe(reported ?? from);
            expect(await isAlive(bench)).toBe(reported === undefined && sessionStates.includes(from));
            expectIntact([bench]);
          });
        }
      }

      it("that hangs until its client is cancelled: the arc's start, nothing held", async () => {
        const bench = await inUse(from);
        const held = new Held(bench.card, "migrationSetState", true);
        const { task, cancel } = cancellable("client");
        const ending = outcome(bench.device.migration!.setState(task, to));
        await held.entered;
        cancel();
        expect(await ending).toBe("cancelled");
        expect(bench.device.migration!.state).toBe(from);
        expectIntact([bench], task);
      });

      for (const obeys of [true, false]) {
        it(`that ${obeys ? "hangs until a reset aborts it" : "comes late, after a reset"}: RUNNING, ECANCELED`, async () => {
          const bench = await inUse(from);
          const { device, card, task } = bench;
          const held = new Held(card, "migrationSetState", obeys);
          const ending = outcome(device.migration!.setState(task, to));
          await held.entered;
          const admin = new Task("admin");
          await device.reset(admin); // does not wait for the transition
          expect(device.migration!.state).toBe(RUNNING);
          expect(await isAlive(bench)).toBe(false);
          if (!obeys) held.release();
          expect(await ending).toBe("ECANCELED");
          expect(device.migration!.state).toBe(RUNNING);
          expect(await isAlive(bench)).toBe(false);
          // The driver's own part is cleaned up once, by whoever was in the transition.
          expect(card.calls.filter((call) => call === "resetState")).toHaveLength(1);
          expect(card.calls.at(-1)).toBe("resetState");
          expect(card.at).toBe(RUNNING);
          expectIntact([bench], admin);
          // A transition begun after it is not disturbed.
          await device.migration!.setState(task, PRE_COPY);
          expect(await isAlive(bench)).toBe(true);
        });
      }

      it("that hangs when its client goes away: aborted, abandoned, RUNNING", async () => {
        const bench = await inUse(from);
        const { device, card, task } = bench;
        const held = new Held(card, "migrationSetState", true);
        const ending = outcome(device.migration!.setState(task, to));
        await held.entered;
        await device.disconnect(new Task("disconnect"));
        expect(await ending).toBe("ECANCELED");
        expect(device.migration!.state).toBe(RUNNING);
        expectIntact([bench]);
      });
    });
  }

  for (const [who, stop] of [
    ["a reset", ({ device }: Bench) => device.reset(new Task("admin"))],
    ["its client's end", ({ device }: Bench) => device.disconnect(new Task("disconnect"))],
  ] as const) {
    it(`that comes late, after ${who}: the arcs that were to follow are not begun`, async () => {
      const bench = await inUse();
      const { device, card, task } = bench;
      const held = new Held(card, "migrationSetState", false);
      const ending = outcome(device.migration!.setState(task, STOP_COPY)); // three arcs
      await held.entered;
      const stopping = stop(bench);
      held.release();
      await stopping;
      expect(await ending).toBe("ECANCELED");
      expect(card.calls.filter((call) => call.includes("->"))).toHaveLength(1);
      expect(device.migration!.state).toBe(RUNNING);
      expectIntact([bench]);
    });
  }

  it("is not called any more for a client that was cancelled between two arcs", async () => {
    const bench = await inUse();
    const { device, card } = bench;
    const { task, cancel } = cancellable("client");
    const held = new Held(card, "migrationSetState", false);
    const ending = outcome(device.migration!.setState(task, STOP_COPY));
    await held.entered;
    cancel();
    held.release();
    expect(await ending).toBe("cancelled");
    expect(card.calls.filter((call) => call.includes("->"))).toHaveLength(1);
    expect(device.migration!.state).toBe(RUNNING_P2P); // where the arc that finished has led
    expectIntact([bench], task);
  });
});

describe("migrationGetState", () => {
  it("that throws after a failed arc: ERROR, and the client hears of the arc", async () => {
    const bench = await inUse(STOP_COPY);
    const { device, card, task } = bench;
    card.hook = (call) => {
      if (call === "migrationSetState") throw thrown.ENOSPC();
      if (call === "migrationGetState") throw thrown.EIO();
    };
    expect(await outcome(device.migration!.setState(task, STOP))).toBe("ENOSPC");
    expect(device.migration!.state).toBe(ERROR);
    expectIntact([bench]);
  });

  for (const reported of [8, -1, Number.NaN]) {
    it(`that answers ${reported}, which is no state: ERROR`, async () => {
      const bench = await inUse(STOP_COPY);
      const { device, card, task } = bench;
      throwOn(card, "migrationSetState", thrown.ENOSPC);
      card.reported = reported;
      expect(await outcome(device.migration!.setState(task, STOP))).toBe("ENOSPC");
      expect(device.migration!.state).toBe(ERROR);
      expectIntact([bench]);
    });
  }
});

describe("migrationGetDataSize", () => {
  for (const [errno, make] of Object.entries(thrown)) {
    it(`that throws: ${errno}, and nothing changes`, async () => {
      const bench = await inUse(STOP_COPY);
      throwOn(bench.card, "migrationGetDataSize", make);
      expect(await outcome(() => bench.device.migration!.dataSize())).toBe(errno);
      expect(bench.device.migration!.state).toBe(STOP_COPY);
      expectIntact([bench]);
    });
  }
});

describe("migrationResetState", () => {
  /** A configuration write does not fail because of the driver; a close tells only of the migration it gave up. */
  const silent: readonly ResetInitiator[] = ["flr-pcie", "flr-af", "power-on"];

  for (const initiator of every) {
    describe(initiators[initiator].title, () => {
      const reach = (bench: Bench) => bench.reach(initiator === "disconnect" ? ERROR : STOP_COPY);

      for (const [errno, make] of Object.entries(thrown)) {
        it(`that throws: ${silent.includes(initiator) ? "not told" : errno}; the reset counts all the same`, async () => {
          const { benches } = await prepare(initiator, "present", reach);
          const { device, card } = benches[0]!;
          const before = device.generation;
          throwOn(card, "migrationResetState", make);
          const task = new Task(initiator);
          expect(await outcome(paths[initiator].trigger(benches, task))).toBe(
            silent.includes(initiator) ? "0" : errno,
          );
          expect(device.generation).toBe(before + 1);
          expect(device.migration!.state).toBe(RUNNING);
          expectIntact(benches, task);
          card.hook = () => undefined;
          await device.migration!.setState(task, STOP_COPY);
        });
      }

      it("that hangs until the caller is cancelled: RUNNING, nothing held", async () => {
        const { benches } = await prepare(initiator, "present", reach);
        const { device, card } = benches[0]!;
        const held = new Held(card, "migrationResetState", true);
        const { task, cancel } = cancellable(initiator);
        const ending = outcome(paths[initiator].trigger(benches, task));
        await held.entered;
        expect(device.migration!.state).toBe(RUNNING);
        cancel();
        expect(await ending).toBe("cancelled");
        expect(device.migration!.state).toBe(RUNNING);
        expectIntact(benches, task);
      });
    });
  }

  it("that comes late, after a second reset: called once more, and never twice at a time", async () => {
    const bench = await inUse(STOP_COPY);
    const { device, card } = bench;
    const held = new Held(card, "migrationResetState", false);
    const first = device.reset(new Task("first"));
    await held.entered;
    await device.reset(new Task("second"));
    await device.reset(new Task("third"));
    expect(card.calls.filter((call) => call === "resetState")).toHaveLength(1);
    held.release();
    await first;
    // Both resets in the meantime share one call.
    expect(card.calls.filter((call) => call === "resetState")).toHaveLength(2);
    expectIntact([bench]);
  });

  it("that fails for a transition which finds the device reset: the transition fails with it, once", async () => {
    const bench = await inUse(STOP_COPY);
    const { device, card, task } = bench;
    // A reset while somebody else holds stateMutex leaves the record to that holder.
    const holder = new Task("holder");
    await device.migration!.stateMutex.lock(holder);
    await device.reset(new Task("admin"));
    throwOn(card, "migrationResetState", thrown.ENOSPC);
    device.migration!.stateMutex.unlock(holder);
    expect(await outcome(device.migration!.setState(task, STOP))).toBe("ENOSPC");
    expect(device.migration!.state).toBe(RUNNING);
    card.hook = () => undefined;
    expect(await outcome(device.migration!.setState(task, STOP))).toBe("0");
    expectIntact([bench], holder);
  });
});

describe("a session", () => {
  const transfers = {
    "session.read": {
      state: STOP_COPY,
      transfer: async ({ device }: Bench, task: Task): Promise<unknown> =>
        await device.migration!.readData(task, new Uint8Array(4)),
    },
    "session.write": {
      state: RESUMING,
      transfer: async ({ device }: Bench, task: Task): Promise<unknown> =>
        await device.migration!.writeData(task, new Uint8Array(4)),
    },
  } as const;

  for (const [name, { state, transfer }] of Object.entries(transfers)) {
    const call = name as keyof typeof transfers;
    describe(call, () => {
      for (const [errno, make] of Object.entries(thrown)) {
        it(`that throws: ${errno}, and the session lives on`, async () => {
          const bench = await inUse(state);
          throwOn(bench.card, call, make);
          expect(await outcome(transfer(bench, bench.task))).toBe(errno);
          bench.card.hook = () => undefined;
          expect(await outcome(transfer(bench, bench.task))).toBe("0");
          expectIntact([bench]);
        });
      }

      it("that hangs until its client is cancelled: the next transfer works", async () => {
        const bench = await inUse(state);
        const held = new Held(bench.card, call, true);
        const { task, cancel } = cancellable("client");
        const ending = outcome(transfer(bench, task));
        await held.entered;
        cancel();
        expect(await ending).toBe("cancelled");
        expect(await outcome(transfer(bench, bench.task))).toBe("0");
        expectIntact([bench], task);
      });

      it("that comes late, after a reset: ENODEV; the reset did not wait for it", async () => {
        const bench = await inUse(state);
        const held = new Held(bench.card, call, false);
        const ending = outcome(transfer(bench, bench.task));
        await held.entered;
        const queued = new Task("queued");
        const next = outcome(transfer(bench, queued));
        await bench.device.reset(new Task("admin"));
        expect(bench.card.calls).toContain("resetState");
        held.release();
        expect(await ending).toBe("ENODEV");
        expect(await next).toBe("ENODEV");
        expectIntact([bench], queued);
      });

      it("that hangs while the state is left: who leaves waits, can be cancelled, and the session is over", async () => {
        const bench = await inUse(state);
        const { device } = bench;
        const held = new Held(bench.card, call, false);
        const ending = outcome(transfer(bench, bench.task));
        await held.entered;
        const { task, cancel } = cancellable("leaving");
        const leaving = outcome(device.migration!.setState(task, STOP));
        await new Promise((resolve) => setImmediate(resolve)); // as far as it gets
        cancel();
        expect(await leaving).toBe("cancelled");
        expect(device.migration!.state).toBe(STOP); // the driver has gone there
        held.release();
        expect(await ending).toBe("ENODEV");
        expect(await isAlive(bench)).toBe(false);
        expectIntact([bench], task);
      });
    });
  }
});
