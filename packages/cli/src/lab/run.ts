import { exitCodeOf } from "@vfiokit/explore";
import { replayCounterexample, runLab, type LabReport } from "@vfiokit/lab";
import { Command } from "commander";
import { CommandError, UsageError } from "../errors.js";
import { err, out } from "../output.js";
import { parseBounds, positive } from "./bounds.js";
import { chooseDesigns, chooseScenarios } from "./choice.js";
import { checkHtmlTarget, writeHtml } from "./html.js";
import { lines } from "./lines.js";
import { matrixTable } from "./matrix.js";
import { ProgressBar } from "./progress.js";
import type { QueuedRun } from "./queue/coordinator.js";
import { loadQueue } from "./queue/load.js";
import { parseRedisUrl, type RedisTarget } from "./queue/url.js";
import { startThreads } from "./threads.js";

interface Options {
  readonly design?: string;
  readonly scenario: string;
  readonly bound?: string;
  readonly workers?: string;
  readonly queue?: string;
  readonly json?: true;
  readonly html?: string;
}

/** What the core uses: of the others it is known that they fail. */
const DEFAULT_DESIGN = "generation";

/** `vfiokit lab run`: the verdicts, and the shortest counterexample for each failure. */
export function runCommand(): Command {
  return new Command("run")
    .description(
      "Runs scenarios under designs, each in every interleaving that matters, and gives the verdicts.",
    )
    .option("--design <list>", 'designs, as in "callback,generation" (default: all)')
    .option(
      "--scenario <pattern>",
      'a subset ("quick", "all"), a name, or parts of names as in "ioctl/fails"',
      "all",
    )
    .option(
      "--bound <bounds>",
      'limits for one scenario, as in "executions=1000,preemptions=2" (default: none, the verdicts are proofs)',
    )
    .option("--workers <n>", "threads to share the scenarios, and large scenarios' schedules (default: 1)")
    .option("--queue <url>", "share them with every vfiokit lab worker at this Redis or Valkey instead")
    .option("--json", "print the verdicts as JSON")
    .option(
      "--html <file>",
      "also write a report for a browser: verdicts, orders of locks, counterexamples step by step",
    )
    .addHelpText(
      "after",
      `\nExit code 1 if ${DEFAULT_DESIGN}, the design of the core, fails; 3 if it does not, and limits or an interrupt came ` +
        "before every interleaving was run;\n4 if something was met that cannot be explored.",
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  const designs = chooseDesigns(options.design);
  const scenarios = chooseScenarios(options.scenario);
  const bounds = parseBounds(options.bound);
  const workers = positive("--workers", options.workers ?? "1");
  const queue = options.queue === undefined ? undefined : parseRedisUrl(options.queue);
  if (queue && options.workers !== undefined)
    throw new UsageError("--workers and --queue: the threads here, or the workers of a queue");
  if (options.html !== undefined) checkHtmlTarget(options.html);
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once("SIGINT", onInterrupt);
  process.once("SIGTERM", onInterrupt);
  let report: LabReport;
  try {
    using progress = new ProgressBar();
    await using elsewhere = queue
      ? await share(queue)
      : workers > 1
        ? await startThreads(workers)
        : undefined;
    report = await runLab({
      designs,
      scenarios,
      bounds,
      signal: interrupt.signal,
      onProgress: (done) => progress.show(done),
      ...(elsewhere && { elsewhere }),
    });
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
  }
  if (options.json) out.json({ matrix: report.matrix }, 2);
  else await print(report);
  if (options.html !== undefined) err.line(await writeHtml(options.html, report, bounds));
  const own = Object.values(report.matrix[DEFAULT_DESIGN] ?? {});
  if (own.some(({ verdict }) => verdict === "fail")) throw new CommandError(`${DEFAULT_DESIGN} fails`);
  if (own.some(({ verdict }) => verdict === "unknown"))
    throw new CommandError(`${DEFAULT_DESIGN} does what cannot be explored`, {
      exitCode: exitCodeOf("unknown"),
    });
  if (interrupt.signal.aborted)
    throw new CommandError("interrupted: the verdicts are of what was run until then", {
      exitCode: exitCodeOf("not-found"),
    });
  if (own.some(({ exhausted }) => !exhausted))
    throw new CommandError(`limits met: of ${DEFAULT_DESIGN} not every interleaving was run`, {
      exitCode: exitCodeOf("not-found"),
    });
}

/** Opens a run that workers join. */
async function share(target: RedisTarget): Promise<QueuedRun> {
  const { openRun } = await loadQueue(() => import("./queue/coordinator.js")); // not before it is needed: commands start quickly
  const run = await openRun(target);
  err.line(`run ${run.id}: shared with every vfiokit lab worker --queue ${target.shown}`);
  return run;
}

async function print(report: LabReport): Promise<void> {
  const { style } = out;
  const told: string[] = matrixTable(report.matrix, style);
  told.push(
    "",
    `${report.executions.toLocaleString("en-US")} executions of ${report.scenarios} scenarios in ${(report.time / 1000).toFixed(1)} s. ` +
      "The numbers are executions; without a + behind them, there are no others that could differ.",
  );
  for (const [design, cells] of Object.entries(report.matrix)) {
    for (const [invariant, cell] of Object.entries(cells)) {
      if (cell.counterexample === undefined) continue;
      const finding = (report.findings[design] as Record<string, string>)[invariant] ?? "";
      told.push(
        "",
        style.bold(`${design}: ${invariant}`),
        finding,
        style.dim(`vfiokit lab replay '${cell.counterexample}'`),
      );
      // What lockdep prints for an order of locks fills a screen: the line above says which.
      if (!cell.counterexample.endsWith("@warm-up"))
        told.push(
          ...lines((await replayCounterexample(cell.counterexample)).lines, style).map((line) => `  ${line}`),
        );
    }
  }
  out.lines(told);
}
