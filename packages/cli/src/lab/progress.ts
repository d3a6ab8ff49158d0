import type { LabProgress } from "@vfiokit/lab";
import { Presets, SingleBar } from "cli-progress";
import { err } from "../output.js";

/** A bar on a terminal, on stderr; nothing anywhere else. */
export class ProgressBar implements Disposable {
  #bar: SingleBar | undefined;

  show({ done, total, executions, design }: LabProgress): void {
    if (!err.isTTY) return;
    if (!this.#bar) {
      this.#bar = new SingleBar(
        {
          stream: err.stream,
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
