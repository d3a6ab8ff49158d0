import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { initiators, type ResetInitiator } from "@vfiokit/core/lab";
import { migrate, MigrateError, type MigrateResult } from "@vfiokit/user";
import { expectDocument } from "../../../core/test/reset/document.js";
import { Card } from "./phase-rig.js";
import { scratch } from "./support.js";

// docs/migration.md, "A reset in the middle": every initiator at every phase, at both ends.

const every = Object.keys(initiators) as ResetInitiator[];
const ROUNDS = 3;

type End = "source" | "target";

interface Point {
  readonly end: End;
  readonly when: string;
  /** Whether the migration client is there: the phase and step of its point, and how often it was there, this time included. */
  is(at: string, count: number): boolean;
}

const at =
  (name: string, nth = 1) =>
  (point: string, count: number) =>
    point === name && count === nth;

/** Chunks of stop-copy, by which its middle is found; counted by a migration that nobody disturbs. */
let stopCopyChunks = 0;
const middle = (point: string, count: number) =>
  point === "stop-copy:write" && count === Math.ceil(stopCopyChunks / 2);

const points: readonly Point[] = [
  { end: "source", when: "before", is: at("check:begin") },
  { end: "source", when: "pre-copy, round 1", is: at("precopy:source-ready") },
  { end: "source", when: "pre-copy, round 2", is: at("precopy:round", 1) },
  { end: "source", when: "pre-copy, round 3", is: at("precopy:round", 2) },
  { end: "source", when: "at the stop", is: at("stop:held") },
  { end: "source", when: "stop-copy, start", is: at("stop-copy:begin") },
  { end: "source", when: "stop-copy, middle", is: middle },
  { end: "source", when: "stop-copy, end", is: at("prepare:begin") },
  { end: "source", when: "prepared", is: at("prepare:prepared") },
  { end: "source", when: "given", is: at("activate:begin") },
  { end: "target", when: "before", is: at("check:begin") },
  { end: "target", when: "resuming, start", is: at("precopy:target-ready") },
  { end: "target", when: "resuming, middle", is: middle },
  { end: "target", when: "resuming, end", is: at("prepare:begin") },
  { end: "target", when: "prepared", is: at("prepare:prepared") },
  { end: "target", when: "prepared, the source given", is: at("activate:begin") },
];

interface Outcome {
  readonly outcome: string;
  readonly source: string;
  readonly target: string;
}

/** Migrates, with a reset at a point, and checks what has to hold whatever becomes of that. */
async function migrateWith(
  initiator: ResetInitiator,
  point: Point | undefined,
): Promise<Outcome & { points: string[] }> {
  using dir = scratch();
  await using from = await Card.serve(dir.file("from"), initiator);
  await using to = await Card.serve(dir.file("to"), initiator);
  from.box.use(1);
  const seen: string[] = [];
  let hits = 0;
  /** What the source was when it stopped for the last time. */
  let stopped = "";
  const fault = async (numbered: string): Promise<void> => {
    const name = numbered.replace(/:\d+$/, "");
    seen.push(name);
    if (name === "precopy:round") from.box.use(seen.length);
    if (name === "stop-copy:begin") stopped = from.box.content();
    if (!point?.is(name, seen.filter((one) => one === name).length)) return;
    hits++;
    await (point.end === "source" ? from : to).reset();
    if (name === "stop-copy:begin") stopped = from.box.content();
  };
  using source = await from.source();
  using target = await to.target();
  let result: MigrateResult | undefined;
  let error: unknown;
  try {
    const options = { maxDowntime_ms: 0, maxRounds: ROUNDS, hooks: { fault } };
    result = await migrate(source, target, options);
  } catch (thrown) {
    error = thrown;
  }
  expect(hits).toBe(point ? 1 : 0);
  const outcome = { outcome: outcomeOf(result, error), source: from.state, target: to.state };
  // Both ends agree, and of the two exactly one runs the device.
  const id = result?.id;
  const activated = id !== undefined && to.device.handOver!.outcomeOf(id) === "activated";
  expect(activated).toBe(result !== undefined);
  expect(from.box.running).toBe(result === undefined);
  expect(outcome.source).toBe(result ? "STOP, given" : "RUNNING");
  expect(outcome.target).toBe("RUNNING");
  if (result) expect(to.box.content()).toBe(stopped);
  else expect(to.box.content()).toBe("0/0/0");
  return { ...outcome, points: seen };
}

function outcomeOf(result: MigrateResult | undefined, error: unknown): string {
  if (!result) {
    if (error instanceof MigrateError) expect(error.runs, error.message).toBe("source");
    return `fails, ${(error as MigrateError).code}`;
  }
  return result.restarts === 0 ? "migrated" : "begun again, migrated";
}

describe("a reset in the middle of a migration", () => {
  const seen = new Map<Point, Map<ResetInitiator, Outcome>>();

  beforeAll(async () => {
    const { outcome, points: all } = await migrateWith("ioctl", undefined);
    expect(outcome).toBe("migrated");
    expect(all.filter((name) => name === "precopy:round")).toHaveLength(ROUNDS);
    stopCopyChunks = all.filter((name) => name === "stop-copy:write").length;
    expect(stopCopyChunks).toBeGreaterThan(2);
  });

  for (const point of points) {
    it(`${point.end}: ${point.when}`, { timeout: 60_000 }, async () => {
      const outcomes = new Map<ResetInitiator, Outcome>();
      for (const initiator of every) outcomes.set(initiator, await migrateWith(initiator, point));
      seen.set(point, outcomes);
    });
  }

  afterAll(() => {
    if (seen.size < points.length) return undefined; // a run of single tests has not seen everything
    return expectDocument("docs/migration.md", "reset-phase", table(seen));
  });
});

/** A row for initiators that fare alike, at points in a row where all do. */
function table(seen: ReadonlyMap<Point, ReadonlyMap<ResetInitiator, Outcome>>): string {
  const blocks: { end: End; whens: string[]; fates: string[] }[] = [];
  for (const [{ end, when }, outcomes] of seen) {
    const fates = fatesOf(outcomes);
    const last = blocks.at(-1);
    if (last?.end === end && last.fates.join() === fates.join()) last.whens.push(when);
    else blocks.push({ end, whens: [when], fates });
  }
  return [
    "| reset of the | when | initiator | the migration | source | target |",
    "| --- | --- | --- | --- | --- | --- |",
    ...blocks.flatMap(({ end, whens, fates }) =>
      fates.map((fate) => `| ${end} | ${whens.join("; ")} | ${fate} |`),
    ),
  ].join("\n");
}

/** "`ioctl`, `sysfs` | migrated | STOP, given | RUNNING" for each outcome. */
function fatesOf(outcomes: ReadonlyMap<ResetInitiator, Outcome>): string[] {
  const alike = new Map<string, ResetInitiator[]>();
  for (const [initiator, { outcome, source, target }] of outcomes) {
    const fate = `${outcome} | ${source} | ${target}`;
    alike.set(fate, [...(alike.get(fate) ?? []), initiator]);
  }
  return [...alike].map(([fate, who]) => `${namesOf(who)} | ${fate}`);
}

function namesOf(who: readonly ResetInitiator[]): string {
  const list = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(", ");
  const others = every.filter((one) => !who.includes(one));
  if (others.length === 0) return "any";
  return others.length < who.length ? `not ${list(others)}` : list(who);
}
