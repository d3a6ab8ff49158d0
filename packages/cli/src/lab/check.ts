import { exitCodeOf } from "@vfiokit/explore";
import type { CycleProblem } from "@vfiokit/lockdep";
import type { Scenario } from "@vfiokit/lockdep/protocol";
import { loadScenarios, type FileScenario } from "@vfiokit/lockdep/bin";
import { Command } from "commander";
import { CommandError, UsageError } from "../errors.js";
import { err, out } from "../output.js";
import { parseBounds } from "./bounds.js";
import { lines } from "./lines.js";
import {
  replayProtocol,
  searchProtocol,
  type ProtocolResult,
  type ProtocolVerdict,
  type ReplayedProtocol,
} from "./protocol.js";

interface Options {
  readonly scenario?: string;
  readonly bound?: string;
  readonly replay?: string;
  readonly json?: true;
}

interface Checked {
  readonly file: string;
  readonly result: ProtocolResult;
  readonly counterexample: ReplayedProtocol | undefined;
}

/** `vfiokit lab check FILE…`: do lock protocols deadlock? An interleaving that does, or a proof. */
export function checkCommand(): Command {
  return new Command("check")
    .description(
      "Runs lock protocols (the files of lockdep check) in every interleaving that matters: is a deadlock reachable?",
    )
    .argument("<file...>", "lock protocols")
    .option("--scenario <name>", "only the scenario of this name")
    .option(
      "--bound <bounds>",
      'limits for one scenario, as in "executions=1000,preemptions=2" (default: none, "no deadlock" is a proof)',
    )
    .option("--replay <schedule>", "run one interleaving again, as a deadlock was printed with")
    .option("--json", "print everything as JSON")
    .addHelpText(
      "after",
      "\nExit code 0 if every scenario is proved, or does what its file expects; 1 if one deadlocks and its file does not " +
        "expect a problem;\n3 if limits or an interrupt came before every interleaving was run; 4 if something was met " +
        "that cannot be explored.",
    )
    .action(check);
}

async function check(files: readonly string[], options: Options): Promise<void> {
  const chosen = await loadScenarios(files, options.scenario);
  if (options.replay !== undefined) return replayOne(chosen, options.replay, options.json === true);
  const bounds = parseBounds(options.bound);
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once("SIGINT", onInterrupt);
  const checked: Checked[] = [];
  try {
    for (const { file, scenario } of chosen) {
      const result = await searchProtocol(scenario, {
        ...(bounds.executions !== undefined && { maxExecutions: bounds.executions }),
        ...(bounds.preemptions !== undefined && { maxPreemptions: bounds.preemptions }),
        signal: interrupt.signal,
        onProgress: (executions) => progress(scenario, executions),
      });
      const { schedule } = result;
      const counterexample = schedule === undefined ? undefined : await replayProtocol(scenario, schedule);
      const one = { file, result, counterexample };
      checked.push(one);
      err.clearProgress();
      if (!options.json) out.lines(text(one, options));
    }
  } finally {
    process.off("SIGINT", onInterrupt);
    err.clearProgress();
  }
  if (options.json) out.json(checked.map(toJson), 2);
  const failed = checked.filter(({ result }) => !isOk(result)).length;
  if (failed > 0) throw new CommandError(`${failed} of ${checked.length} scenarios fail`);
  const count = (wanted: ProtocolVerdict): number =>
    checked.filter(({ result: { verdict } }) => verdict === wanted).length;
  if (count("unknown") > 0)
    throw new CommandError(`${count("unknown")} of ${checked.length} scenarios do what cannot be explored`, {
      exitCode: exitCodeOf("unknown"),
    });
  if (interrupt.signal.aborted)
    throw new CommandError("interrupted: not every interleaving was run", {
      exitCode: exitCodeOf("not-found"),
    });
  if (count("not-found") > 0)
    throw new CommandError(
      `limits met: of ${count("not-found")} of ${checked.length} scenarios not every interleaving was run`,
      { exitCode: exitCodeOf("not-found") },
    );
}

async function replayOne(chosen: readonly FileScenario[], schedule: string, asJson: boolean): Promise<void> {
  const [only, other] = chosen;
  if (other) throw new UsageError(`--replay is for one scenario, and here are ${chosen.length}: --scenario`);
  const replayed = await replayProtocol(only!.scenario, schedule).catch((error: unknown) => {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  });
  if (asJson) out.json(replayed, 2);
  else out.lines(lines(replayed.lines, out.style));
  if (replayed.verdict === "not-found") throw new CommandError("every task has ended");
}

/** A failure is fine where the file says that there is a problem. */
function isOk({ scenario, verdict }: ProtocolResult): boolean {
  const expectsProblem = scenario.expect !== undefined && scenario.expect !== "clean";
  return (verdict !== "deadlock" && verdict !== "refused") || expectsProblem;
}

function text({ file, result, counterexample }: Checked, options: Options): string[] {
  const { style } = out;
  const { scenario, schedule } = result;
  const mark = isOk(result) ? style.green("ok") : style.red("FAILED");
  const told = [`${mark} ${file}: ${scenario.name}: ${verdictText(result, options.bound)}`];
  if (counterexample && schedule !== undefined) {
    told.push(...lines(counterexample.lines, style).map((line) => `  ${line}`));
    const words = ["vfiokit", "lab", "check", file, "--scenario", scenario.name, "--replay", schedule];
    told.push(`  ${style.dim(words.map(quoted).join(" "))}`);
  }
  const compared = comparison(result);
  if (compared !== undefined) told.push(`  ${compared}`);
  return told;
}

function verdictText(
  { verdict, executions, participants, tasks, scenario }: ProtocolResult,
  bound?: string,
): string {
  const runs = `${executions.toLocaleString("en-US")} execution${executions === 1 ? "" : "s"}`;
  switch (verdict) {
    case "proved":
      return `no deadlock: proved, ${runs}`;
    case "not-found":
      return `limits met: no deadlock found in ${runs}, and there are more${bound === undefined ? "" : ` (--bound ${bound})`}`;
    case "unknown":
      return `unknown: none of ${runs} deadlocks, and not everything could be explored`;
    case "deadlock":
    case "refused": {
      const what = verdict === "deadlock" ? "deadlock" : "a step is refused";
      const more = tasks.filter((name) => scenario.tasks.every((task) => task.name !== name));
      return `${what}, found in ${runs}${participants === 0 ? "" : `, with ${more.join(" and ")} besides`}`;
    }
  }
}

/** What `lockdep check` says, where it is not the same; undefined where it is. */
function comparison({ verdict, participants, lockdep }: ProtocolResult): string | undefined {
  const said = `lockdep check says ${lockdep.verdict}`;
  const failed = verdict === "deadlock" || verdict === "refused";
  if (lockdep.verdict === "clean")
    return failed
      ? `${said}: no order of classes contradicts another one; a subclass or a trylock hides this from it.`
      : undefined;
  if (failed)
    return participants === 0
      ? undefined
      : `${said}: the same. Each task of the file once does not deadlock.`;
  const [finding] = lockdep.findings;
  if (finding?.problem.kind !== "cycle") return `${said}: a mistake that stops nobody here.`;
  const guards = commonGuards(finding.problem);
  const keptApart =
    guards.length > 0
      ? `every task of the cycle holds ${guards.join(", ")} meanwhile, so no two of them can meet`
      : finding.harmless
        ? "something keeps the tasks apart, whatever copies of them and writers there are"
        : "that it can be reached was not shown, with copies of the tasks neither";
  return `${said}: the orders contradict each other, but ${keptApart}.`;
}

/** Classes that are held, exclusively, around every order of the cycle. */
function commonGuards({ orders }: CycleProblem): readonly string[] {
  return orders[0]!.besides.filter((name) => orders.every(({ besides }) => besides.includes(name)));
}

function toJson({ file, result, counterexample }: Checked): object {
  const { scenario, verdict, executions, tasks, message, schedule, lockdep } = result;
  return {
    file,
    scenario: scenario.name,
    verdict,
    ok: isOk(result),
    executions,
    exhausted: verdict === "proved",
    tasks,
    message,
    counterexample: schedule,
    lines: counterexample?.lines,
    lockdep: lockdep.verdict,
    comparison: comparison(result),
  };
}

const quoted = (word: string): string =>
  /^[\w./:-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** One line on a terminal, rewritten; nothing anywhere else. */
function progress({ name }: Scenario, executions: number): void {
  err.progress(`${name}: ${executions.toLocaleString("en-US")} executions`);
}
