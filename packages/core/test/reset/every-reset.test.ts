import "../../../../test/setup-lockdep.js";
import { afterAll, describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { VfioError, errnoName, errnoOf } from "@vfiokit/core";
import { MigrationState, migrationStateName } from "@vfiokit/core/migration";
import { initiators, type InitiatorRules, type ResetInitiator } from "@vfiokit/core/lab";
import { allStates, heldLocks, sessionStates, type Bench, type Ops } from "./card.js";
import { expectDocument } from "./document.js";
import { failResets, leavingPaths, paths, prepare } from "./paths.js";
import { initiatorTable, resetTable, type InitiatorRow, type Observation } from "./tables.js";

const { ERROR, RUNNING, RESUMING } = MigrationState;
const every = Object.keys(initiators) as ResetInitiator[];

/** What a failed reset answers at its caller. Of the others nobody can be told, or nobody is left. */
const failing: Partial<Record<ResetInitiator, string>> = {
  ioctl: "EIO",
  "hot-reset": "EIO",
  sysfs: "EIO",
  "slot-reset": "EIO",
  "runtime-resume": "EIO",
};

/** The rules, in words of this test and not of the code's table. */
function expected(initiator: ResetInitiator, state: MigrationState, ops: Ops, works: boolean): Observation {
  const leaves = leavingPaths.includes(initiator);
  const migrates = ops !== "absent";
  const tried = initiator !== "disconnect" || (migrates && state === ERROR);
  const resets = works && tried;
  const abandons = leaves && state !== ERROR && state !== RUNNING;
  const underSet = (initiators[initiator] as InitiatorRules).setLock;
  const locks = underSet ? "deviceSet.lock, stateMutex" : "stateMutex";
  const called = ops === "present" && (resets || abandons);
  const hadSession = migrates && sessionStates.includes(state);
  return {
    reset: !tried ? "not tried" : works ? "succeeds" : "fails",
    stateAfter: migrates ? (resets || abandons ? RUNNING : state) : undefined,
    session: hadSession ? (leaves ? "EINVAL" : resets ? "ENODEV" : "alive") : undefined,
    config: resets ? "power-on" : "untouched",
    client: leaves ? "dropped" : "kept",
    generation: resets ? 1 : 0,
    errno: works || !tried ? "0" : (failing[initiator] ?? (initiator === "disconnect" ? "EIO" : "0")),
    opLocks: called ? locks : undefined,
  };
}

async function observe(
  initiator: ResetInitiator,
  state: MigrationState,
  ops: Ops,
  works: boolean,
): Promise<Observation> {
  const { benches } = await prepare(initiator, ops, (bench) =>
    ops === "absent" ? Promise.resolve() : bench.reach(state),
  );
  const bench = benches[0]!;
  const { device, card } = bench;
  const devices = benches.map((b) => b.device);
  const before = device.generation;
  const opLocks = new Set<string>();
  const called = { reset: false };
  for (const b of benches) {
    if (!works) failResets(b.card);
    const { hook } = b.card;
    b.card.hook = (call) => {
      if (call === "migrationResetState") opLocks.add(heldLocks(...devices).join(", "));
      if (call === "reset") called.reset = true;
      return hook(call);
    };
  }
  const task = new Task(initiator);
  const errno = await errnoFrom(paths[initiator].trigger(benches, task));

  // Nothing is left behind, on any path.
  expect(heldLocks(...devices)).toEqual([]);
  expect([...task.holds, ...bench.task.holds]).toEqual([]);
  card.hook = () => undefined;
  return {
    reset: !called.reset ? "not tried" : works ? "succeeds" : "fails",
    stateAfter: device.migration?.state,
    session: sessionStates.includes(state) ? await oldSession(bench, state) : undefined,
    config: bench.configIs,
    client: bench.clientIs,
    generation: device.generation - before,
    errno,
    opLocks: opLocks.size > 0 ? [...opLocks].join(" / ") : undefined,
  };
}

/** What a read of the session that was open before gives, or a write to it. */
async function oldSession({ device, task }: Bench, state: MigrationState): Promise<string | undefined> {
  if (!device.migration) return undefined;
  const { migration } = device;
  const transfer = async () => {
    if (state === RESUMING) await migration.writeData(task, new Uint8Array(4));
    else await migration.readData(task, new Uint8Array(4));
  };
  const errno = await errnoFrom(transfer());
  return errno === "0" ? "alive" : errno;
}

async function errnoFrom(action: Promise<unknown>): Promise<string> {
  try {
    await action;
    return "0";
  } catch (error) {
    expect(error).toBeInstanceOf(VfioError);
    return errnoName(errnoOf(error));
  }
}

describe("every reset, from every migration state", () => {
  const observations: { initiator: ResetInitiator; state: MigrationState; seen: Observation }[] = [];

  for (const initiator of every) {
    describe(initiators[initiator].title, () => {
      for (const works of [true, false]) {
        it(works ? "when the function is reset" : "when the function's reset fails", async () => {
          for (const ops of ["present", "partial", "absent"] as const) {
            for (const state of ops === "absent" ? [RUNNING] : allStates) {
              const seen = await observe(initiator, state, ops, works);
              const where = `${migrationStateName(state)}, migration ops ${ops}`;
              expect({ where, ...seen }).toEqual({ where, ...expected(initiator, state, ops, works) });
              if (ops === "present") observations.push({ initiator, state, seen });
            }
          }
        });
      }
    });
  }

  afterAll(() => {
    // A run of single tests has not seen everything.
    if (observations.length < every.length * allStates.length * 2) return;
    return expectDocument("docs/resets.md", "every-reset", resetTable(observations));
  });
});

describe("what surrounds a reset", () => {
  const rows: InitiatorRow[] = [];

  for (const initiator of every) {
    it(initiators[initiator].title, async () => {
      const rules: InitiatorRules = initiators[initiator];
      const reach = initiator === "disconnect" ? (bench: Bench) => bench.reach(ERROR) : undefined;

      const { benches } = await prepare(initiator, "present", reach);
      const devices = benches.map(({ device }) => device);
      const locks = new Set<string>();
      for (const { card } of benches) {
        card.hook = (call) => {
          if (call === "reset") locks.add(heldLocks(...devices).join(", "));
        };
      }
      await paths[initiator].trigger(benches, new Task(initiator));
      expect(locks.size).toBe(1);
      const held = [...locks][0]!.split(", ").filter((lock) => lock !== "");
      expect(held.includes("deviceSet.lock")).toBe(rules.setLock);
      expect(held.filter((lock) => lock === "memoryLock")).toHaveLength(
        rules.memoryLock ? benches.length : 0,
      );
      expect(held.filter((lock) => lock === "deviceLock")).toHaveLength(
        rules.deviceLock === "none" ? 0 : benches.length,
      );
      // Zapped before it, and not faulted in again.
      if (rules.memoryLock) expect(benches.map(({ mapping }) => mapping.isPresent)).not.toContain(true);

      const busy = await whileBusy(initiator, reach);
      expect(busy.startsWith("waits")).toBe(rules.deviceLock === "wait");
      rows.push({
        initiator,
        held,
        busy,
        failing: failing[initiator] ?? (initiator === "disconnect" ? "EIO" : "0"),
      });
    });
  }

  /** What becomes of it while somebody else has the function's deviceLock. */
  async function whileBusy(
    initiator: ResetInitiator,
    reach?: (bench: Bench) => Promise<void>,
  ): Promise<string> {
    const { benches } = await prepare(initiator, "present", reach);
    const { device } = benches.at(-1)!;
    const somebody = new Task("somebody else");
    await device.deviceLock.lock(somebody);
    const before = device.generation;
    const progress = { settled: false };
    const running = errnoFrom(paths[initiator].trigger(benches, new Task(initiator))).finally(
      () => (progress.settled = true),
    );
    // Nothing else waits for anything but microtasks.
    await new Promise((resolve) => setImmediate(resolve));
    const waits = !progress.settled;
    device.deviceLock.unlock(somebody);
    const errno = await running;
    expect(heldLocks(...benches.map((b) => b.device))).toEqual([]);
    if (waits) return `waits, then ${errno}`;
    return device.generation === before ? errno : "not looked at";
  }

  afterAll(() => {
    if (rows.length < every.length) return;
    return expectDocument("docs/resets.md", "initiators", initiatorTable(rows));
  });
});
