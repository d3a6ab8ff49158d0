import { exploreSubtree, type SubtreeJob, type SubtreeResult } from "@vfiokit/explore";
import { PROMISES, scenarioBody } from "./body.js";
import { catalogue } from "./catalogue.js";
import type { Bounds } from "./bounds.js";
import type { Design } from "./design.js";
import { designs } from "./designs/index.js";
import type { Scenario } from "./scenario.js";

/** A part of one scenario's exploration under one design: plain data, for those who run it elsewhere. */
export interface LabPart {
  /** By name: designs and scenarios are code. */
  readonly design: string;
  readonly scenario: string;
  readonly bounds: Bounds;
  readonly job: SubtreeJob;
}

const byName = new Map(catalogue.map((scenario) => [scenario.name, scenario]));

export interface LabPartResult extends SubtreeResult {
  /** Which locks were taken under which: see `Orders`. */
  readonly orders: readonly string[];
}

/**
 * Explores a part. What comes of it depends on nothing else, so it may be run anywhere, and twice.
 * @throws Error for a design or a scenario that is not known here
 */
export function runPart(part: LabPart, signal?: AbortSignal): Promise<LabPartResult> {
  const design = designs.find(({ name }) => name === part.design);
  if (!design) throw new Error(`no design is called "${part.design}"`);
  const scenario = byName.get(part.scenario);
  if (!scenario) throw new Error(`no scenario is called "${part.scenario}"`);
  return explorePart(design, scenario, part, signal);
}

export async function explorePart(
  design: Design,
  scenario: Scenario,
  { job, bounds }: Pick<LabPart, "job" | "bounds">,
  signal?: AbortSignal,
): Promise<LabPartResult> {
  const { body, orders } = scenarioBody(design, scenario);
  let seen: readonly string[] = [];
  const result = await exploreSubtree(body, job, {
    keepGoing: true,
    lockdep: false, // the body has its own way with the validator
    ...PROMISES,
    maxPreemptions: bounds.preemptions,
    signal,
    onDone: () => (seen = orders()),
  });
  return { ...result, orders: seen };
}
