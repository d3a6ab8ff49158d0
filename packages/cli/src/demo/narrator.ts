import { setTimeout as sleep } from "node:timers/promises";
import { CommandError } from "../errors.js";
import { out } from "../output.js";

/** Between two chapters, on a terminal: time to read. */
const PAUSE_MS = 700;

/** Prints what happens, as it happens. */
export class Narrator {
  readonly style = out.style;
  private chapters = 0;

  line(text = ""): void {
    out.text(`${text}\n`);
  }

  async chapter(title: string): Promise<void> {
    if (this.chapters++ > 0 && out.isTTY) await sleep(PAUSE_MS);
    this.line(`\n${this.style.bold(title)}`);
  }

  /** Something to read, not checked. */
  note(text: string): void {
    this.line(`    ${text}`);
  }

  /** Something that was checked. @throws CommandError if it does not hold: the demonstration has failed */
  check(holds: boolean, text: string): void {
    if (!holds) throw new CommandError(`this does not hold: ${text}`);
    this.line(`  ${this.style.green("✓")} ${text}`);
  }

  dim(text: string): void {
    this.line(`    ${this.style.dim(text)}`);
  }
}

/** Runs `action` and returns how long it took, in milliseconds. */
export async function timed(action: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await action();
  return performance.now() - start;
}
