/** The program did something else when it was run again under the same schedule, so nothing can be concluded. */
export class NotDeterministic extends Error {
  override readonly name = "NotDeterministic";
  constructor(what: string) {
    super(
      `the explored program is not deterministic: ${what}. ` +
        "Does it use time, random numbers, or state that outlives an execution?",
    );
  }
}

/** What a thrown value says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
