/// <reference types="node" />
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import {
  exitCodeOf,
  explore,
  formatReport,
  NotDeterministic,
  replay,
  type Body,
  type ExploreReport,
  type Progress,
} from "../index.js";

const HELP = `Usage: explore [options] <file...>

Runs every function that the modules export as a body of @vfiokit/explore, in every order that matters.

Options:
  --only <name>             only the body of this name
  --replay <schedule>       run one schedule of it again, as a failure was printed with
  --max-executions <n>      stop after so many executions of a body (default: no limit)
  --max-preemptions <n>     leave out schedules with more switches away from a task that could go on
  --keep-going              look for further failures after the first
  --json                    print the reports as JSON
  --version, --help

Exit code: 0 proved, 1 a body fails, 2 wrong usage or no task, 3 a limit was met, 4 a body does what explore cannot see.
`;

const USAGE = 2;
/** Of several bodies' exit codes, the first of these is the command's. */
const WORST_FIRST = [1, 2, 4, 3, 0] as const;

/** The command line is wrong. */
class UsageError extends Error {}

interface NamedBody {
  readonly name: string;
  readonly body: Body;
}

/** Runs the command line and returns the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    const { values, positionals } = parse(argv);
    if (values.help) return print(HELP);
    if (values.version) return print(`${version()}\n`);
    const bodies = choose(await load(positionals), values.only);
    if (values.replay !== undefined && bodies.length !== 1)
      throw new UsageError(`--replay: there are ${bodies.length} bodies; choose one by --only`);
    const reports: (ExploreReport & { readonly name: string })[] = [];
    for (const { name, body } of bodies) {
      const report = await (values.replay === undefined
        ? search(name, body, values)
        : replay(body, values.replay));
      reports.push({ name, ...report });
      if (!values.json) print(`${name}: ${formatReport(report)}\n`);
    }
    if (values.json) print(`${JSON.stringify(reports, null, 2)}\n`);
    const codes = reports.map(({ verdict }) => exitCodeOf(verdict));
    return WORST_FIRST.find((code) => codes.includes(code)) ?? 0;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const usage = error instanceof UsageError;
    const known = usage || error instanceof NotDeterministic;
    process.stderr.write(`error: ${known ? error.message : (error.stack ?? error.message)}\n`);
    return usage ? USAGE : 1;
  }
}

type Values = ReturnType<typeof parse>["values"];

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        only: { type: "string" },
        replay: { type: "string" },
        "max-executions": { type: "string" },
        "max-preemptions": { type: "string" },
        "keep-going": { type: "boolean" },
        json: { type: "boolean" },
        version: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function load(files: readonly string[]): Promise<NamedBody[]> {
  if (files.length === 0) throw new UsageError("which file? (--help shows how to use it)");
  const bodies: NamedBody[] = [];
  for (const file of files) {
    const url = pathToFileURL(resolve(file));
    const module = (await import(url.href)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module))
      if (typeof value === "function" && !isClass(value)) bodies.push({ name, body: value as Body });
  }
  return bodies;
}

/** A class is no body: it cannot be called. */
function isClass(value: object): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}

function choose(bodies: readonly NamedBody[], only: string | undefined): readonly NamedBody[] {
  const chosen = only === undefined ? bodies : bodies.filter(({ name }) => name === only);
  if (chosen.length === 0)
    throw new UsageError(
      only === undefined ? "no function is exported" : `no exported function is called "${only}"`,
    );
  return chosen;
}

/** Ctrl-C ends the exploration of a body, with what was found until then. */
async function search(name: string, body: Body, values: Values): Promise<ExploreReport> {
  const interrupt = new AbortController();
  const onInterrupt = () => interrupt.abort();
  const maxExecutions = count(values, "max-executions");
  const maxPreemptions = count(values, "max-preemptions");
  process.once("SIGINT", onInterrupt);
  try {
    return await explore(body, {
      signal: interrupt.signal,
      ...(maxExecutions !== undefined && { maxExecutions }),
      ...(maxPreemptions !== undefined && { maxPreemptions }),
      ...(values["keep-going"] && { keepGoing: true }),
      ...(process.stderr.isTTY && { onProgress: (progress: Progress) => show(name, progress) }),
    });
  } finally {
    process.off("SIGINT", onInterrupt);
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}

function count(values: Values, name: "max-executions" | "max-preemptions"): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} ${text}: must be a number`);
  return Number(text);
}

function show(name: string, { executions, failures }: Progress): void {
  process.stderr.write(`\r\x1b[K${name}: ${executions} executions, ${failures} failures`);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function version(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
