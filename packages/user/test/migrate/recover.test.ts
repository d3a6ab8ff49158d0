import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { definePciDevice, PciDevice, sections, u32, VfioError } from "@vfiokit/core";
import { MigrationState, newHandOverId, type HandOverOutcome } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import {
  decideRecovery,
  DeviceAdmin,
  LocalSource,
  LocalTarget,
  localSide,
  migrate,
  recover,
  type HandOverReport,
  type RecoveryAction,
  type RecoverySide,
  type SideState,
} from "@vfiokit/user";
import { expectOneRuns, type SideNow } from "../../../../test/kill/aftermath.js";
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
        // A migration client that is still alive cannot activate what was dropped first.
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
    expect(decideRecovery(silent("FROM").gone.state, gone.state, undefined).runs).toBe("neither");
  });
});

describe("between two servers", () => {
  /** A migration client that is killed at a point: all its connections break. */
  async function killedAt(point: string) {
    const dir = scratch();
    const from = await Served.start(smallCard(), dir.file("from"));
    const to = await Served.start(smallCard(), dir.file("to"));
    const sum = await fillCard(from.path, 7);
    const source = await LocalSource.connect(from.path);
    const target = await LocalTarget.connect(to.path);
    await new Promise<void>((arrived) => {
      const fault = (at: string) => {
        if (!at.startsWith(point)) return undefined;
        arrived();
        return new Promise<void>(() => undefined);
      };
      void migrate(source, target, { ...usual, hooks: { fault } });
    });
    source.close();
    target.close();
    return {
      from,
      to,
      sum,
      recover: (id?: string) => recover(localSide(from.path), localSide(to.path), id),
      async [Symbol.asyncDispose]() {
        await from[Symbol.asyncDispose]();
        await to[Symbol.asyncDispose]();
        dir[Symbol.dispose]();
      },
    };
  }

  it.each(["precopy:target-ready", "stop-copy:write", "prepare:begin", "prepare:prepared", "give:begin"])(
    "a migration client killed at %s: the source runs on",
    async (point) => {
      await using cards = await killedAt(point);
      expect((await cards.recover()).runs).toMatch(/source|unchanged/);
      expect(await sumOfCard(cards.from.path)).toBe(cards.sum);
      expect(await sumOfCard(cards.to.path)).not.toBe(cards.sum);
      expect([cards.from.phase, cards.to.phase]).toEqual(["none", "none"]);
    },
  );

  it("a migration client killed before activate: the target runs; told again, nothing is done", async () => {
    await using cards = await killedAt("activate:begin");
    expect(await cards.recover()).toMatchObject({ runs: "target", steps: [{ step: "activate" }] });
    expect(await sumOfCard(cards.to.path)).toBe(cards.sum);
    expect(await cards.recover()).toMatchObject({ runs: "target", steps: [] });
    expect(cards.from.phase).toBe("given");
  });

  it("the target is reset after give: the source is taken back", async () => {
    await using cards = await killedAt("activate:begin");
    await cards.to.reset();
    expect(await cards.recover()).toMatchObject({
      runs: "source",
      message: expect.stringContaining(`a reset of ${cards.to.path} has dropped the image`) as unknown,
    });
    expect(await sumOfCard(cards.from.path)).toBe(cards.sum);
    expect([cards.to.state, cards.to.phase]).toEqual(["RUNNING", "none"]);
  });

  it("the target's server ends after give: the source is taken back", async () => {
    await using cards = await killedAt("activate:begin");
    await cards.to.end();
    expect((await cards.recover()).runs).toBe("source");
    expect(await sumOfCard(cards.from.path)).toBe(cards.sum);
  });

  it("the source's server ends after prepare, and another one takes its place: the target runs", async () => {
    await using cards = await killedAt("give:begin");
    await cards.from.end();
    await using anew = await Served.start(smallCard(), cards.from.path);
    expect(anew.phase).toBe("none");
    expect(await cards.recover()).toMatchObject({ runs: "target", steps: [{ step: "activate" }] });
    expect(await sumOfCard(cards.to.path)).toBe(cards.sum);
  });

  it("a server without a control socket: undecided, and the message says how to decide", async () => {
    await using cards = await killedAt("activate:begin");
    const { id } = cards.to.device.handOver!.status();
    await cards.to.end();
    await using plain = await Served.start(smallCard(), cards.to.path, { control: false });
    expect(plain.state).toBe("RUNNING");
    expect(await cards.recover()).toMatchObject({
      runs: "undecided",
      steps: [],
      message: expect.stringMatching(
        new RegExp(
          `vfiokit ctl ${cards.from.path} hand-over take-back ${id} .*served without a control socket`,
        ),
      ) as unknown,
    });
    expect(cards.from.phase).toBe("given");
  });

  it("a step that fails again and again: how it is then", async () => {
    await using cards = await killedAt("give:begin");
    cards.to.device.resetFunction = () => {
      throw new VfioError("EIO", "the firmware does not answer");
    };
    await expect(cards.recover()).rejects.toThrow(
      /was not given away. But that fails \(EIO: the firmware .*recover again.*from is in RUNNING, .*to is prepared/,
    );
  });
});

describe("whatever happens to a migration client and two servers, in whatever order", () => {
  /** A device in a server that can be killed, and started anew. */
  class FakeServer implements RecoverySide {
    device!: PciDevice;
    running = true;
    value = 0;
    alive = true;
    #admin!: DeviceAdmin;
    readonly #task = new Task("somebody");

    constructor(readonly name: string) {
      this.start();
    }

    start(): void {
      this.value = 0;
      this.running = true;
      const state = sections({
        value: u32(
          () => this.value,
          (value) => (this.value = value),
        ),
      });
      const definition = definePciDevice({
        name: "fake",
        id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
        create: () => ({
          state,
          reset: () => void (this.value = 0),
          stop: () => void (this.running = false),
          run: () => void (this.running = true),
        }),
      });
      this.device = new PciDevice(definition, { name: this.name });
      this.#admin = new DeviceAdmin(this.device);
      this.alive = true;
    }

    async state(id?: string): Promise<SideState> {
      const { name } = this;
      if (!this.alive) return { kind: "gone", name };
      return {
        kind: "answers",
        name,
        report: await this.#admin.handOver({ step: "status", ...(id && { id }) }),
      };
    }

    async step(step: "prepare" | "give" | "activate" | "discard" | "take-back", id: string): Promise<void> {
      this.#assertAlive();
      await this.#admin.handOver({ step, id });
    }

    async save(): Promise<Uint8Array> {
      this.#assertAlive();
      const { migration } = this.device;
      await migration!.setState(this.#task, MigrationState.STOP_COPY);
      const image = new Uint8Array(4096);
      return image.subarray(0, await migration!.readData(this.#task, image));
    }

    async load(image: Uint8Array): Promise<void> {
      this.#assertAlive();
      const { migration } = this.device;
      await migration!.setState(this.#task, MigrationState.RESUMING);
      await migration!.writeData(this.#task, image);
    }

    async suffer(mishap: Mishap): Promise<void> {
      if (mishap === "killed") this.alive = false;
      if (mishap === "started anew" && !this.alive) this.start();
      if (mishap === "reset" && this.alive) await this.device.reset(this.#task, "sysfs");
      if (mishap === "its client leaves" && this.alive) await this.device.disconnect(this.#task);
    }

    #assertAlive(): void {
      if (!this.alive) throw new VfioError("ECONNRESET", `${this.name} is dead`);
    }
  }

  const mishaps = ["killed", "started anew", "reset", "its client leaves"] as const;
  type Mishap = (typeof mishaps)[number];
  const happening = fc.record({
    side: fc.constantFrom("source" as const, "target" as const),
    mishap: fc.constantFrom(...mishaps),
  });
  const VALUE = 42;

  class Story {
    readonly source = new FakeServer("source");
    readonly target = new FakeServer("target");
    readonly #original = this.source.device;
    readonly id = newHandOverId(this.#original.handOver!.instance);

    constructor() {
      this.source.value = VALUE;
    }

    /** The source has it as long as it is itself; the target from `prepare` on, unless a reset comes before `activate`. */
    now(): { source: SideNow; target: SideNow } {
      const { source, target, id } = this;
      const [from, to] = [source.device.handOver!, target.device.handOver!];
      const activated = to.outcomeOf(id) === "activated";
      const { phase, wasReset } = to.status();
      return {
        source: {
          has: source.alive && source.device === this.#original,
          usable: source.alive && source.running && from.status().phase === "none",
        },
        target: {
          has: target.alive && (activated || (phase === "prepared" && !wasReset)),
          usable: target.alive && target.running && activated,
        },
      };
    }

    check(said: string | undefined): void {
      const { source, target } = this;
      expectOneRuns({ ...this.now(), said });
      for (const { alive, running, device } of [source, target]) {
        if (alive && device.handOver!.status().phase !== "none") expect(running).toBe(false);
      }
      // Two never run on one value, whoever thinks that it is theirs.
      const onIt = [source, target].filter(
        ({ alive, running, value }) => alive && running && value === VALUE,
      );
      expect(onIt.length).toBeLessThan(2);
    }

    /** What a migration client does, as far as it gets. */
    async *migrationClient(): AsyncGenerator<void> {
      const { source, target, id } = this;
      yield;
      const image = await source.save();
      yield;
      await target.load(image);
      yield;
      await target.step("prepare", id);
      yield;
      await source.step("give", id);
      yield;
      await target.step("activate", id);
    }
  }

  it(
    "somebody who recovers finds exactly one that can run with the right state, or is told that it is lost",
    { timeout: 60_000 },
    async () => {
      const between = fc.array(happening, { maxLength: 2 });
      const plans = fc.array(between, { minLength: 1, maxLength: 6 });
      const decided = new Set<string>();
      await fc.assert(
        fc.asyncProperty(plans, async (plan) => {
          const story = new Story();
          const migrationClient = story.migrationClient();
          let going = true;
          for (const happenings of plan) {
            if (going) going = await goesOn(migrationClient);
            for (const { side, mishap } of happenings) {
              await story[side].suffer(mishap);
              story.check(undefined);
            }
          }
          // The migration client is killed, wherever it is.
          for (const side of [story.source, story.target]) await side.suffer("its client leaves");
          story.check(undefined);
          const { message, runs } = await recover(story.source, story.target);
          decided.add(runs);
          expect(runs).not.toBe("undecided");
          story.check(message);
          const again = await recover(story.source, story.target);
          expect(again.steps).toEqual([]);
          story.check(message);
        }),
        { numRuns: 1000 },
      );
      expect(decided).toEqual(new Set(["source", "target", "neither", "unchanged"]));
    },
  );

  /** @returns whether there is more to do: a migration client whose step fails stops there, as if it was killed */
  async function goesOn(migrationClient: AsyncGenerator<void>): Promise<boolean> {
    try {
      return (await migrationClient.next()).done !== true;
    } catch (error) {
      if (error instanceof VfioError) return false;
      throw error;
    }
  }
});
