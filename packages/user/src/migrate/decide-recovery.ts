import { isFrom } from "@vfiokit/core/migration";
import type { HandOverReport, HandOverStep } from "../admin/index.js";

/** What one side of a hand-over says of itself, or what becomes of asking it. */
export type SideState =
  | { readonly kind: "answers"; readonly name: string; readonly report: HandOverReport }
  /** Nobody serves it: its process has ended, and its device with it. */
  | { readonly kind: "gone"; readonly name: string }
  /** It does not answer, and may be running. */
  | { readonly kind: "unreachable"; readonly name: string; readonly why: string };

export interface RecoveryStep {
  readonly side: "source" | "target";
  readonly step: Extract<HandOverStep, "activate" | "discard" | "take-back">;
}

/** What ends a hand-over that was left in the middle. */
export interface RecoveryAction {
  /** Undefined: neither side is in a hand-over. */
  readonly id: string | undefined;
  /** In this order: each only when the one before it was done. */
  readonly steps: readonly RecoveryStep[];
  /**
   * Who runs the device afterwards. "neither": its state is lost. "undecided": nobody can tell from here, and the
   * message says which side to resume, and how. "unchanged": neither side is in a hand-over, and each runs what it has.
   */
  readonly runs: "source" | "target" | "neither" | "undecided" | "unchanged";
  readonly message: string;
}

/** Where a source is in a hand-over. */
export type SourcePhase =
  /** It has given the device away, and is stopped. */
  | "given"
  /** It has not, or has taken it back: it runs, or is where its client has it. */
  | "idle"
  /** The state is not there any more: another process serves it than the one that had it, or it was discarded. */
  | "new"
  /** It is in another hand-over, or is the target of this one. */
  | "other"
  | "gone"
  | "unreachable";

/** Where a target is in a hand-over. */
export type TargetPhase =
  /** It has the whole image, and is stopped. */
  | "prepared"
  /** The same, but a reset has dropped the image. */
  | "lost"
  /** It runs, or has been handed on. */
  | "activated"
  /** It has no image of this hand-over. */
  | "idle"
  /** It is in another hand-over, or is the source of this one. */
  | "other"
  | "gone"
  | "unreachable";

interface Decision {
  readonly steps: readonly RecoveryStep[];
  readonly runs: RecoveryAction["runs"];
  readonly why: string;
}

const activate: RecoveryStep = { side: "target", step: "activate" };
const discard: RecoveryStep = { side: "target", step: "discard" };
const takeBack: RecoveryStep = { side: "source", step: "take-back" };

const decision = (runs: RecoveryAction["runs"], why: string, ...steps: RecoveryStep[]): Decision => ({
  runs,
  why,
  steps,
});

const noPair = decision(
  "undecided",
  "these two are not both in this hand-over. FROM is where the device was, TO where it went: name that pair",
);
const lost = decision("neither", "the state is lost with SOURCE: restore a snapshot, or use TARGET as it is");
const runsOn = decision("source", "SOURCE was not given away, and runs on");
const hasIt = decision("target", "TARGET has it");
const alone = decision(
  "target",
  "SOURCE, where the state was, is gone, and TARGET has the whole image",
  activate,
);
const dropped = decision(
  "neither",
  "SOURCE, where the state was, is gone, and a reset of TARGET has dropped the image: restore a snapshot, or use " +
    "TARGET as it is",
  discard,
);
const askSource = decision(
  "undecided",
  "SOURCE does not answer, and may be stopped. Recover again when it does; if it certainly has ended, its state is lost",
);

/**
 * What to do, for every pair of phases. Wherever the source is taken back, the target's image is dropped first: then a
 * migration client that is still alive, and comes late, cannot activate it.
 */
const decisions: Readonly<Record<SourcePhase, Readonly<Record<TargetPhase, Decision>>>> = {
  given: {
    prepared: decision("target", "SOURCE was given away, and TARGET has the whole image", activate),
    lost: decision("source", "a reset of TARGET has dropped the image", discard, takeBack),
    activated: hasIt,
    idle: decision("source", "TARGET has no image of it", takeBack),
    other: noPair,
    gone: decision("source", "TARGET is gone, and its image with it", takeBack),
    unreachable: decision(
      "undecided",
      "SOURCE was given away, and TARGET does not answer: it may run. Recover again when it does; if it certainly does " +
        "not run and never will: vfiokit ctl SOURCE hand-over take-back ID",
    ),
  },
  idle: {
    // Taken back, what was never given cannot be given by a migration client that comes late.
    prepared: decision("source", "SOURCE was not given away", discard, takeBack),
    lost: decision("source", "SOURCE was not given away", discard, takeBack),
    activated: decision(
      "undecided",
      "both run: SOURCE was taken back by hand, though TARGET was activated. End the server of the one whose guest is " +
        "gone: by the hand-over, that is SOURCE",
    ),
    idle: runsOn,
    other: runsOn,
    gone: runsOn,
    unreachable: runsOn,
  },
  new: {
    prepared: decision(
      "target",
      "the state is not at SOURCE any more (another process serves there now, or it was discarded), and TARGET has the " +
        "whole image",
      activate,
    ),
    lost: dropped,
    activated: hasIt,
    idle: lost,
    other: noPair,
    gone: lost,
    unreachable: decision(
      "undecided",
      "the state is not at SOURCE any more, and TARGET does not answer. Recover again when it does",
    ),
  },
  other: {
    prepared: noPair,
    lost: noPair,
    activated: hasIt,
    idle: noPair,
    other: noPair,
    gone: noPair,
    unreachable: noPair,
  },
  gone: {
    prepared: alone,
    lost: dropped,
    activated: hasIt,
    idle: lost,
    other: noPair,
    gone: lost,
    unreachable: decision(
      "undecided",
      "SOURCE is gone, and TARGET does not answer. Recover again when it does: it may have the whole image",
    ),
  },
  unreachable: {
    prepared: decision(
      "undecided",
      "TARGET has the whole image, and SOURCE does not answer: it may run. Recover again when it does; if it certainly " +
        "does not run and never will: vfiokit ctl TARGET hand-over activate ID",
    ),
    lost: askSource,
    activated: hasIt,
    idle: askSource,
    other: noPair,
    gone: askSource,
    unreachable: decision("undecided", "neither SOURCE nor TARGET answers. Recover again when they do"),
  },
};

/** The hand-over that the sides are in. Undefined: none that they know of. */
export function handOverOf(source: SideState, target: SideState): string | undefined {
  return idOf(source) ?? idOf(target);
}

/**
 * What ends hand-over `id` so that exactly one side runs the device, whoever was lost and wherever.
 * @param id what the sides were asked about; `outcome` in their reports is of it. Undefined: they are in none
 */
export function decideRecovery(source: SideState, target: SideState, id: string | undefined): RecoveryAction {
  if (id === undefined) return withoutHandOver(source, target);
  const { steps, runs, why } = decisions[sourcePhase(source, id)][targetPhase(target, id)];
  const text = why.replaceAll("SOURCE", source.name).replaceAll("TARGET", target.name).replaceAll("ID", id);
  const unreachable = [source, target]
    .filter((side) => side.kind === "unreachable")
    .map(({ name, why: reason }) => ` (${name}: ${reason})`);
  return { id, steps, runs, message: `hand-over ${id}: ${text}${unreachable.join("")}` };
}

/** Nobody who answers is in a hand-over: a migration that was broken off before `prepare`, or that is over, or none. */
function withoutHandOver(source: SideState, target: SideState): RecoveryAction {
  const texts = [source, target].map((side) => {
    if (side.kind === "answers") return `${side.name} is in no hand-over, and runs what it has`;
    return side.kind === "gone" ? `${side.name} is gone` : `${side.name} does not answer (${side.why})`;
  });
  const kinds = [source.kind, target.kind];
  const runs = kinds.includes("unreachable")
    ? "undecided"
    : kinds.includes("answers")
      ? "unchanged"
      : "neither";
  const advice =
    runs === "undecided"
      ? ". Recover again when they answer. A state that was lost with its process: restore a snapshot"
      : ". A state that neither has was lost with its process: restore a snapshot";
  return { id: undefined, steps: [], runs, message: `${texts.join("; ")}${advice}` };
}

function idOf(side: SideState): string | undefined {
  return side.kind === "answers" ? side.report.id : undefined;
}

function sourcePhase(side: SideState, id: string): SourcePhase {
  if (side.kind !== "answers") return side.kind;
  const { report } = side;
  if (report.phase === "given" && report.id === id) return "given";
  if (report.outcome === "discarded" || !isFrom(id, report.instance))
    return report.phase === "none" ? "new" : "other";
  return report.phase === "none" ? "idle" : "other";
}

function targetPhase(side: SideState, id: string): TargetPhase {
  if (side.kind !== "answers") return side.kind;
  const { report } = side;
  if (report.outcome === "activated") return "activated";
  if (report.phase === "prepared" && report.id === id) return report.wasReset ? "lost" : "prepared";
  return report.phase === "none" ? "idle" : "other";
}
