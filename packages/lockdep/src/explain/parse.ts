import { logLines, type LogLine } from "./forms.js";
import { Report, Torn } from "./report.js";
import { SECTIONS, type Section, type Sort } from "./sorts/sort.js";
import { SORTS, type SplatProblem } from "./sorts/index.js";
import { UNSUPPORTED } from "./sorts/unsupported.js";
import type { Splat } from "./splat.js";

/** What the reader of a log may ask for beside the log. */
export interface ParseOptions {
  /**
   * Where "fn+0x12/0x34" or "fn+0x12/0x34 [module]" is in the source, outermost last: as `addr2line -i` says. Undefined
   * where it is unknown.
   */
  readonly symbolize?: (symbol: string) => readonly SourcePlace[] | undefined;
}

/** A function, and a line of the kernel's source. */
export interface SourcePlace {
  readonly fn: string;
  readonly file: string;
  readonly line: number;
}

interface Chunk {
  readonly sort: Sort<SplatProblem> | (typeof UNSUPPORTED)[number];
  readonly lines: readonly LogLine[];
  /** What follows is no end of the report but another one, or the end of the log. */
  readonly cutBy: "" | "the end of the log" | "another report";
}

/**
 * Finds every report about locks in a kernel log, in whichever forms its lines come. Reports that two processors
 * print at a time are told apart by their callers (CONFIG_PRINTK_CALLER).
 */
export function parseKernelLog(log: string, options: ParseOptions = {}): Splat[] {
  const lines = logLines(log).flatMap((line) => symbolized(line, options.symbolize));
  const streams = new Map<string | undefined, LogLine[]>();
  for (const line of lines) {
    const stream = streams.get(line.caller);
    if (stream) stream.push(line);
    else streams.set(line.caller, [line]);
  }
  const splats = [...streams.values()].flatMap((stream) => splatsOf(chunks(stream)));
  return once(splats.sort((a, b) => a.line - b.line));
}

/** "fn+0x12/0x34" or "fn+0x12/0x34 [module]", where a place in the source does not follow yet. */
const SYMBOL = /([\w.$]+\+0x[0-9a-f]+\/0x[0-9a-f]+(?: \[[\w-]+\])?)$/;

/** Every symbol of the log's stacks and places that has no place in the source yet: what `symbolize` will be asked. */
export function symbolsIn(log: string): string[] {
  return [...new Set(logLines(log).flatMap(({ text }) => SYMBOL.exec(text)?.[1] ?? []))];
}

/** As the kernel's scripts/decode_stacktrace.sh writes it: inlined functions first, each in a line. */
function symbolized(line: LogLine, symbolize: ParseOptions["symbolize"]): LogLine[] {
  const match = symbolize && SYMBOL.exec(line.text);
  const places = match ? symbolize(match[1]!) : undefined;
  if (!match || !places || places.length === 0) return [line];
  const before = line.text.slice(0, match.index);
  const inlined = places
    .slice(0, -1)
    .map(({ fn, file, line: at }) => `${before}${fn} ${file}:${at} [inline]`);
  const { file, line: at } = places.at(-1)!;
  return [...inlined, `${line.text} ${file}:${at}`].map((text) => ({ ...line, text }));
}

const titleOf = (text: string): Chunk["sort"] | undefined =>
  [...SORTS, ...UNSUPPORTED].find(({ title }) => title.test(text));

/** A line that ends a report, whatever comes after: the banner of the next, an oops. */
const END = /^(?:={20,}|-+\[ cut here \]-+|---\[ end )/;

/** From each title to the next, or to the end of the report. */
function chunks(lines: readonly LogLine[]): Chunk[] {
  const found: { sort: Chunk["sort"]; start: number }[] = [];
  lines.forEach(({ text }, start) => {
    const sort = titleOf(text);
    const last = found.at(-1);
    // Tasks that hang at a time, and pools that do, are one report: the list of locks after the last is about all.
    const goesOn =
      last !== undefined &&
      last.sort === sort &&
      (last.sort.name === "hung-task" || last.sort.name === "workqueue-lockup") &&
      !lines
        .slice(last.start, start)
        .some((line) => END.test(line.text) || /^Showing all locks/.test(line.text));
    if (sort && !goesOn) found.push({ sort, start });
  });
  return found.map(({ sort, start }, i) => {
    const next = found[i + 1]?.start ?? lines.length;
    const end = lines.slice(start + 1, next).findIndex(({ text }) => END.test(text));
    return {
      sort,
      lines: lines.slice(start, end < 0 ? next : start + 1 + end),
      cutBy: end >= 0 ? "" : found[i + 1] ? "another report" : "the end of the log",
    };
  });
}

function splatsOf(all: readonly Chunk[]): Splat[] {
  const splats = all.map((chunk) => splat(chunk, foreignLines(chunk)));
  // What does not belong to a report belongs to the one before, which its title has cut.
  return splats.map((one, i) =>
    one.status === "torn" && splats[i + 1]?.status === "mixed" ? splat(all[i]!, true) : one,
  );
}

/** Lines of a report of another sort, or of a second one of the same. */
function foreignLines({ sort, lines }: Chunk): boolean {
  const own: readonly Section[] = "sections" in sort ? sort.sections : [];
  return (Object.keys(SECTIONS) as Section[]).some((section) => {
    const count = lines.filter(({ text }) => SECTIONS[section].test(text)).length;
    return count > (own.includes(section) ? 1 : 0);
  });
}

function splat({ sort, lines, cutBy }: Chunk, mixed: boolean): Splat {
  const report = new Report(lines);
  const title = sort.title.exec(report.lines[0]!)![1]!.replace(/ ?\]$/, "").trim();
  const kernel = report.find(/^(\S+ #\d+.* (?:Not tainted|Tainted: .*?))\s*$/, 0, 5)?.[1] ?? "";
  const base = { line: lines[0]!.number, again: [], title, sort: sort.name, kernel, notes: [] };
  if (mixed)
    return {
      ...base,
      status: "mixed",
      missing:
        "lines of two reports stand among each other here, and no caller ([T123], [C0]) tells which is whose",
      problem: undefined,
    };
  if ("about" in sort) return { ...base, status: "unsupported", missing: sort.about, problem: undefined };
  try {
    const problem = sort.read(report);
    return { ...base, status: "explained", missing: "", problem, notes: sort.notes?.(problem, report) ?? [] };
  } catch (error) {
    if (!(error instanceof Torn)) throw error;
    const by = cutBy === "" ? "other output" : cutBy;
    return {
      ...base,
      status: "torn",
      missing: `${error.what} is missing: cut off by ${by}`,
      problem: undefined,
    };
  }
}

/** The same report again, from a console and a dmesg of it, or because the problem came back: explained once. */
function once(splats: readonly Splat[]): Splat[] {
  const seen = new Map<string, Splat & { again: number[] }>();
  for (const one of splats) {
    const { line, again: _, notes: __, ...rest } = one;
    const key = one.problem ? JSON.stringify(rest) : `${line}`;
    const known = seen.get(key);
    if (known) known.again.push(line);
    else seen.set(key, { ...one, again: [] });
  }
  return [...seen.values()];
}
