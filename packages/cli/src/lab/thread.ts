import { runPart, type LabPart, type LabPartResult } from "@vfiokit/lab";

/** What a thread of the pool does: threads.ts names it. */
export function explorePart(part: LabPart): Promise<LabPartResult> {
  return runPart(part);
}
