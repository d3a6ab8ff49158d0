import type { LabProgress } from "@vfiokit/lab";
import { Presets, SingleBar } from "cli-progress";

/** A bar on a terminal, on stderr; nothing anywhere else. */
export class ProgressBar implements Disposable {
  #bar: SingleBar | undefined;

  show({ done, total, executions, design }: LabProgress): void {
    if (!process.stderr.isTTY) return;
    if (!this.#bar) {
      this.#bar = new SingleBar(
        {
          stream: process.stderr,
          clearOnComplete: true,
          hideCursor: true,
          // Ctrl-C is the command's.
          gracefulExit: false,
          format: "[{bar}] {value} of {total} scenarios, {executions} executions, {design}",
        },
        Presets.legacy,
      );
      this.#bar.start(total, 0, { executions: 0, design });
    }
    this.#bar.update(done, { executions: executions.toLocaleString("en-US"), design });
  }

  [Symbol.dispose](): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
