import { SingleBar } from "cli-progress";
import type { VfioError } from "@vfiokit/core";
import type { MigrateError, MigrateEvent, MigratePhase, MigrateProgress, MigrateResult } from "@vfiokit/user";
import { err, out } from "../output.js";
import { bytes, table } from "../shared/tables.js";
import { duration } from "../shared/units.js";

/** Tells what a migration does. */
export interface Reporter {
  event(event: MigrateEvent): void;
  /** @param migration where it had begun */
  failed(error: Error, migration: MigrateError | undefined): void;
  /** Something for the user beside the events. */
  note(text: string): void;
  close(): void;
}

export function reporter(json: boolean): Reporter {
  return json ? new JsonReporter() : new TextReporter();
}

/** A line of JSON for each event, on standard output. */
class JsonReporter implements Reporter {
  event(event: MigrateEvent): void {
    this.#line(event);
  }

  failed(error: Error, migration: MigrateError | undefined): void {
    this.#line({
      event: "failed",
      code: (error as Partial<VfioError>).code ?? "EIO",
      message: error.message,
      ...(migration && { phase: migration.phase, runs: migration.runs }),
    });
  }

  note(): void {
    // The events tell.
  }

  close(): void {
    // Nothing is open.
  }

  #line(event: object): void {
    out.json(event);
  }
}

/** A progress bar on a terminal's standard error, and what came out of it on standard output. */
class TextReporter implements Reporter {
  readonly #err = err.style;
  readonly #out = out.style;
  readonly #bar = new SingleBar({
    format: "{phase} [{bar}] {moved} {rate} {details}",
    stream: err.stream,
    hideCursor: true,
    clearOnComplete: true,
    barsize: 24,
  });
  #names = { source: "", target: "" };

  event(event: MigrateEvent): void {
    switch (event.event) {
      case "check":
        this.#names = { source: event.source.name, target: event.target.name };
        break;
      case "phase":
        this.#phase(event.phase);
        break;
      case "progress":
      case "round":
        this.#progress(event);
        break;
      case "restart":
        this.note(`begun again (${event.restarts}): ${event.reason}`);
        break;
      case "warning":
        this.note(`${this.#err.yellow("warning:")} ${event.message}`);
        break;
      case "done":
        this.close();
        out.lines(this.#summary(event));
        break;
    }
  }

  failed(): void {
    // The command's error message says it.
  }

  note(text: string): void {
    this.close();
    err.line(text);
  }

  close(): void {
    if (this.#bar.isActive) this.#bar.stop();
  }

  #phase(phase: MigratePhase): void {
    if (this.#bar.isActive) this.#bar.update({ phase });
  }

  #progress(progress: MigrateProgress): void {
    if (!err.isTTY) return;
    const total = progress.bytes + (progress.remaining ?? 0);
    const shown = payload(progress);
    if (this.#bar.isActive) {
      this.#bar.setTotal(total);
      this.#bar.update(progress.bytes, shown);
    } else this.#bar.start(total, progress.bytes, shown);
  }

  #summary(result: MigrateResult): string[] {
    const { source, target } = this.#names;
    const headline = `${source} -> ${target}: `;
    if (result.status === "compatible") return [headline + this.#out.green("it can be migrated")];
    const rounds = result.rounds === 1 ? "1 round" : `${result.rounds} rounds`;
    const restarts = result.restarts > 0 ? `, begun again ${result.restarts} times` : "";
    return [
      headline + this.#out.green("migrated"),
      ...table([
        ["  downtime", duration(result.downtime_ms) + expected(result)],
        ["  in all", `${duration(result.total_ms)}${restarts}`],
        [
          "  sent",
          `${bytes(result.bytes)}, ${bytes(result.stopCopyBytes)} of it while the device was stopped`,
        ],
        [
          "  pre-copy",
          result.precopyEnd === "none" ? "none" : `${rounds}: ${precopyEnds[result.precopyEnd]}`,
        ],
      ]),
    ];
  }
}

const precopyEnds: Readonly<Record<MigrateResult["precopyEnd"], string>> = {
  converged: "the rest was small enough",
  rounds: "no more were allowed",
  "nothing-left": "no more could be sent",
  none: "",
};

function expected({ expectedDowntime_ms: ms }: MigrateResult): string {
  return ms === undefined ? "" : `, expected ${duration(ms)} at most`;
}

/** What the progress bar shows. */
export function payload(progress: MigrateProgress): Record<string, string> {
  const { phase, round, rate_Bps, dirtyRate_Bps, expectedDowntime_ms } = progress;
  const details = [
    ...(round > 0 ? [`round ${round}`] : []),
    ...(dirtyRate_Bps === undefined ? [] : [`dirty ${perSecond(dirtyRate_Bps)}`]),
    ...(expectedDowntime_ms === undefined ? [] : [`expected downtime ${duration(expectedDowntime_ms)}`]),
  ];
  return {
    phase,
    moved: bytes(progress.bytes),
    rate: rate_Bps === undefined ? "" : perSecond(rate_Bps),
    details: details.join(", "),
  };
}

function perSecond(rate: number): string {
  return `${bytes(Math.round(rate))}/s`;
}
