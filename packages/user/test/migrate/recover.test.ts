import { describe, expect, it } from "vitest";
import { definePciDevice, newHandOverId, PciDevice, type HandOverOutcome } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import {
  AdminServer,
  decideRecovery,
  DeviceAdmin,
  localSide,
  MigrateError,
  migrate,
  recover,
  LocalSource,
  LocalTarget,
  VfioUserServer,
  type HandOverReport,
  type RecoveryAction,
  type SideState,
} from "@vfiokit/user";
import { fillCard, scratch, Served, smallCard, sumOfCard, usual } from "./support.js";

const INSTANCE = "5".repeat(16);
const ID = newHandOverId(INSTANCE);
const OTHER = newHandOverId(INSTANCE);

// What a side can say, and what is true then. "maybe": it cannot be asked.

interface Side {
  readonly state: SideState;
  /** It has the device's state. */
  readonly has: boolean | "maybe";
  /** It runs it. */
  readonly runs: boolean | "maybe";
  /** It is part of hand-over ID at all. */
  readonly belongs: boolean;
}

function answers(name: string, report: Partial<HandOverReport>): SideState {
  const rest = {
    phase: "none",
    wasReset: false,
    state: "RUNNING",
    generation: 0,
    instance: INSTANCE,
  } as const;
  return { kind: "answers", name, report: { ...rest, ...report } };
}

const silent = (name: string) =>
  ({
    gone: { state: { kind: "gone", name }, has: false, runs: false, belongs: true },
    unreachable: {
      state: { kind: "unreachable", name, why: "EACCES" },
      has: "maybe",
      runs: "maybe",
      belongs: true,
    },
  }) as const;

/** A source has the state as long as its process lives, and runs it unless it was given away. */
const sources: Readonly<Record<string, Side>> = {
  given: {
    state: answers("FROM", { phase: "given", id: ID, state: "STOP" }),
    has: true,
    runs: false,
    belongs: true,
  },
  "given, and reset since": {
    state: answers("FROM", { phase: "given", id: ID, state: "STOP", wasReset: true }),
    has: true,
    runs: false,
    belongs: true,
  },
  "not given": { state: answers("FROM", {}), has: true, runs: true, belongs: true },
  "taken back": { state: answers("FROM", { outcome: "taken back" }), has: true, runs: true, belongs: true },
  discarded: { state: answers("FROM", { outcome: "discarded" }), has: false, runs: false, belongs: true },
  "another process": {
    state: answers("FROM", { instance: "6".repeat(16) }),
    has: false,
    runs: false,
    belongs: true,
  },
  "given in another hand-over": {
    state: answers("FROM", { phase: "given", id: OTHER }),
    has: false,
    runs: false,
    belongs: false,
  },
  "prepared itself": {
    state: answers("FROM", { phase: "prepared", id: ID }),
    has: false,
    runs: false,
    belongs: false,
  },
  ...silent("FROM"),
};

const ended = (outcome: HandOverOutcome) => answers("TO", { outcome, instance: "7".repeat(16) });

/** A target has the state from `prepare` on, until a reset or `discard` drops it, and runs it from `activate` on. */
const targets: Readonly<Record<string, Side>> = {
  prepared: { state: answers("TO", { phase: "prepared", id: ID }), has: true, runs: false, belongs: true },
  "prepared, and reset since": {
    state: answers("TO", { phase: "prepared", id: ID, wasReset: true }),
    has: false,
    runs: false,
    belongs: true,
  },
  activated: { state: ended("activated"), has: true, runs: true, belongs: true },
  "activated, and given on": {
    state: answers("TO", { phase: "given", id: OTHER, outcome: "activated" }),
    has: true,
    runs: true,
    belongs: true,
  },
  "never heard of it": { state: answers("TO", {}), has: false, runs: false, belongs: true },
  discarded: { state: ended("discarded"), has: false, runs: false, belongs: true },
  "activated too late": { state: ended("lost"), has: false, runs: false, belongs: true },
  "prepared in another hand-over": {
    state: answers("TO", { phase: "prepared", id: OTHER }),
    has: false,
    runs: false,
    belongs: false,
  },
  "given itself": {
    state: answers("TO", { phase: "given", id: ID }),
    has: false,
    runs: false,
    belongs: false,
  },
  ...silent("TO"),
};

const truths = (what: boolean | "maybe") => (what === "maybe" ? [true, false] : [what]);

/** Everything that may be true of a pair once the steps were taken. */
function* worldsAfter(source: Side, target: Side, { steps }: RecoveryAction) {
  const does = (step: string) => steps.some((one) => one.step === step);
  for (const sourceRuns of truths(source.runs)) {
    for (const targetRuns of truths(target.runs)) {
      yield {
        source: sourceRuns || does("take-back"),
        target: targetRuns || (does("activate") && target.has === true),
        before: { source: sourceRuns, target: targetRuns },
      };
    }
  }
}

describe("what ends a hand-over", () => {
  for (const [sourceIs, source] of Object.entries(sources)) {
    for (const [targetIs, target] of Object.entries(targets)) {
      const action = decideRecovery(source.state, target.state, ID);
      it(`source ${sourceIs}, target ${targetIs}: ${action.runs}`, () => {
        const { runs, steps, message } = action;
        for (const after of worldsAfter(source, target, action)) {
          // Recovery never makes a second one run, whatever is true of a side that cannot be asked.
          const both = after.before.source && after.before.target;
          if (!both) expect(after.source && after.target, "both run").toBe(false);
          if (runs === "source") expect(after.source).toBe(true);
          if (runs === "target") expect(after.target).toBe(true);
          if (runs === "neither")
            expect([after.source, after.target, source.has, target.has]).not.toContain(true);
        }
        // Whoever has it and can be asked is made to run, if that is safe; else the message says what to do.
        const known = [source, target].every(({ has, belongs }) => has !== "maybe" && belongs);
        if (known && !(source.runs && target.runs)) expect(runs).not.toBe("undecided");
        if (runs === "undecided") {
          expect(steps).toEqual([]);
          expect(message).toMatch(
            /vfiokit ctl (FROM|TO) hand-over|Recover again|name that pair|End the server of/,
          );
        }
        if (runs === "neither") expect(message).toMatch(/restore a snapshot/);
        expect(message).toContain(`hand-over ${ID}`);
        expect(message).not.toMatch(/SOURCE|TARGET|\bID\b/);
        // A mover that is still alive cannot activate what was dropped first.
        const order = steps.map(({ step }) => step);
        if (order.includes("take-back") && order.includes("discard")) expect(order[0]).toBe("discard");
      });
    }
  }

  it("in no hand-over: nothing is done", () => {
    const idle = { from: answers("FROM", {}), to: answers("TO", {}) };
    const { gone, unreachable } = silent("TO");
    expect(decideRecovery(idle.from, idle.to, undefined)).toEqual({
      id: undefined,
      steps: [],
      runs: "unchanged",
      message:
        "FROM is in no hand-over, and runs what it has; TO is in no hand-over, and runs what it has. A state that " +
        "neither has was lost with its process: restore a snapshot",
    });
    expect(decideRecovery(idle.from, gone.state, undefined)).toMatchObject({ steps: [], runs: "unchanged" });
    expect(decideRecovery(idle.from, unreachable.state, undefined)).toMatchObject({
      runs: "undecided",
      message: expect.stringMatching(/TO does not answer \(EACCES\)\. Recover again/) as unknown,
    });
    expect(decideRecovery(silent("FROM").gone.state, gone.state, undefined).runs).toBe("undecided");
  });
});
