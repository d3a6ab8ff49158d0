import type { ResetInitiator } from "@vfiokit/core/lab";
import type { FoundFailure } from "@vfiokit/explore";
import { invariantNames, type Invariant } from "./invariants.js";
import type { Scenario } from "./scenario.js";

/** The paths for which every design has an answer. The others count for all-paths. */
const main: readonly ResetInitiator[] = ["ioctl", "hot-reset"];

/** The invariants that a scenario says something about. */
export function judged(scenario: Scenario): readonly Invariant[] {
  const { ops, succeeds, beside, goesOn, second, step } = scenario;
  const migrates = ops !== "absent";
  const onMain = isMain(scenario);
  const about: Readonly<Record<Invariant, boolean>> = {
    "no-deadlock": true,
    "no-cycle": true,
    "reset-complete": migrates && onMain && succeeds,
    "no-spurious-reset": migrates && onMain && !succeeds,
    "all-paths": migrates,
    "no-crash": true,
    bisectable: step !== undefined,
    "no-lost-update": goesOn === true || second !== undefined,
    "no-resurrection": succeeds && beside.some(({ to }) => to !== undefined),
  };
  return invariantNames.filter((name) => about[name]);
}

function isMain({ initiator, second }: Scenario): boolean {
  return main.includes(initiator) && (second === undefined || main.includes(second));
}

/** What a failed execution has violated, and in what words. */
export function violatedBy(
  scenario: Scenario,
  { kind, message }: Pick<FoundFailure, "kind" | "message">,
): ReadonlyMap<Invariant, string> {
  const violated = new Map<Invariant, string>();
  if (kind === "deadlock" || kind === "livelock" || kind === "lost-wakeup")
    violated.set("no-deadlock", message);
  else if (kind === "unhandled-rejection") violated.set("no-crash", `unhandled rejection: ${message}`);
  else {
    for (const [, name, text] of message.matchAll(/^([a-z-]+): (.*)$/gm))
      if (invariantNames.includes(name as Invariant)) violated.set(name as Invariant, text!);
    if (violated.size === 0) violated.set("no-crash", message);
  }
  for (const name of ["reset-complete", "no-spurious-reset"] as const) {
    const text = violated.get(name);
    if (text === undefined) continue;
    violated.set("all-paths", text);
    if (!isMain(scenario)) violated.delete(name);
  }
  if (scenario.step !== undefined && !violated.has("bisectable")) {
    // What a step of the series breaks; that a design's locks are wrong is the same at every step.
    const text = violated.get("no-crash") ?? violated.get("reset-complete");
    if (text !== undefined) violated.set("bisectable", text);
  }
  return violated;
}

/** The invariants whose violation a failing cell of this one shows. */
export function underlying(invariant: Invariant): readonly Invariant[] {
  if (invariant === "all-paths") return ["reset-complete", "no-spurious-reset"];
  return [invariant];
}
