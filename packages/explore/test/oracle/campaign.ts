import { enumerate, type Outcomes } from "./enumerator.js";
import { flatten, sketch, smaller, withoutForeign, type Sketch } from "./generator.js";
import { formatProgram, type Program } from "./program.js";
import { compare, type Difference } from "./runner.js";

export interface Finding {
  /** Makes the program again. */
  readonly seed: number;
  readonly program: Program;
  readonly differences: readonly Difference[];
}

export interface Counts {
  compared: number;
  /** Programs that were too large, and replaced by others. */
  skipped: number;
  executions: number;
  outcomes: number;
}

export interface CampaignOptions {
  readonly seed: number;
  /** So many programs are compared. */
  readonly programs: number;
  /** Tasks also await what the explorer did not make: promises of their own, functions of theirs. */
  readonly foreign?: boolean;
  /** Programs that need more are too large. */
  readonly maxExecutions?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (counts: Counts) => void;
  readonly onFinding?: (finding: Finding) => void;
}

/** Per execution that is allowed: more states are too many. */
const MAX_STATES = 8;

/** Compares random programs, from one seed up. */
export async function campaign({
  seed,
  programs,
  foreign = true,
  maxExecutions = 500,
  signal,
  onProgress,
  onFinding,
}: CampaignOptions): Promise<Counts> {
  const counts: Counts = { compared: 0, skipped: 0, executions: 0, outcomes: 0 };
  for (let at = seed; counts.compared < programs && !signal?.aborted; at++) {
    const whole = foreign ? sketch(at) : withoutForeign(sketch(at));
    const found = await differencesIn(whole, maxExecutions, counts);
    if (found.length > 0) {
      const { program, differences } = await shrink(whole, found, maxExecutions);
      onFinding?.({ seed: at, program, differences });
    }
    onProgress?.(counts);
  }
  return counts;
}

async function differencesIn(
  whole: Sketch,
  maxExecutions: number,
  counts?: Counts,
): Promise<readonly Difference[]> {
  const program = flatten(whole);
  const expected: Outcomes | undefined = enumerate(program, MAX_STATES * maxExecutions);
  const result = expected && (await compare(program, expected, { maxExecutions }));
  if (counts) {
    if (result?.compared) counts.compared++;
    else counts.skipped++;
    counts.executions += result?.executions ?? 0;
    counts.outcomes += expected ? expected.ends.size + expected.failures.size : 0;
  }
  return result?.differences ?? [];
}

/** Leaves out whatever is not needed for a difference of the same sort. */
async function shrink(
  whole: Sketch,
  found: readonly Difference[],
  maxExecutions: number,
): Promise<Omit<Finding, "seed">> {
  const sort = found[0]!.what;
  for (const less of smaller(whole)) {
    const differences = await differencesIn(less, maxExecutions);
    if (differences.some(({ what }) => what === sort)) return shrink(less, differences, maxExecutions);
  }
  return { program: flatten(whole), differences: found };
}

export function formatFinding({ seed, program, differences }: Finding): string {
  const lines = differences.map(({ what, item }) => `  ${what}: ${item}`);
  return [`seed ${seed}: ${formatProgram(program)}`, ...lines].join("\n");
}
