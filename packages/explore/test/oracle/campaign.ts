import { enumerate, type Outcomes } from "./enumerator.js";
import { flatten, sketch, smaller, type Sketch } from "./generator.js";
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
  readonly signal?: AbortSignal;
  readonly onProgress?: (counts: Counts) => void;
  readonly onFinding?: (finding: Finding) => void;
}

/** More states are too many. */
const MAX_STATES = 4000;

/** Compares random programs, from one seed up. */
export async function campaign({
  seed,
  programs,
  signal,
  onProgress,
  onFinding,
}: CampaignOptions): Promise<Counts> {
  const counts: Counts = { compared: 0, skipped: 0, executions: 0, outcomes: 0 };
  for (let at = seed; counts.compared < programs && !signal?.aborted; at++) {
    const whole = sketch(at);
    const found = await differencesIn(whole, counts);
    if (found.length > 0) {
      const { program, differences } = await shrink(whole, found);
      onFinding?.({ seed: at, program, differences });
    }
    onProgress?.(counts);
  }
  return counts;
}

async function differencesIn(whole: Sketch, counts?: Counts): Promise<readonly Difference[]> {
  const program = flatten(whole);
  const expected: Outcomes | undefined = enumerate(program, MAX_STATES);
  const result = expected && (await compare(program, expected));
  if (counts) {
    if (result?.compared) counts.compared++;
    else counts.skipped++;
    counts.executions += result?.executions ?? 0;
    counts.outcomes += expected ? expected.ends.size + expected.failures.size : 0;
  }
  return result?.differences ?? [];
}

/** Leaves out whatever is not needed for a difference of the same sort. */
async function shrink(whole: Sketch, found: readonly Difference[]): Promise<Omit<Finding, "seed">> {
  const sort = found[0]!.what;
  for (const less of smaller(whole)) {
    const differences = await differencesIn(less);
    if (differences.some(({ what }) => what === sort)) return shrink(less, differences);
  }
  return { program: flatten(whole), differences: found };
}

export function formatFinding({ seed, program, differences }: Finding): string {
  const lines = differences.map(({ what, item }) => `  ${what}: ${item}`);
  return [`seed ${seed}: ${formatProgram(program)}`, ...lines].join("\n");
}
