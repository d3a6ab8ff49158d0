/** One line of a stack trace: in which function, and where in the source (as source maps give it). */
export interface Frame {
  readonly fn: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** What a protocol file says about the step. */
  readonly note?: string;
}

/**
 * A place in a program: an error that was made there, its stack as text, or frames that are known already. An error
 * is the cheapest, but keeps every object alive that is `this` somewhere in the stack: it is for short use.
 */
export type Site = Error | string | readonly Frame[];

/** Deep enough to leave this package and reach the caller's caller, across a few awaits. */
const DEPTH = 24;

/** V8's knob; other engines have no limit, or one that is large enough. */
const engine = Error as { stackTraceLimit?: number | undefined };

/** Remembers where the caller is. Costs a microsecond or two; reading it (`frames`) costs more. */
export function captureStack(): Error {
  const limit = engine.stackTraceLimit;
  engine.stackTraceLimit = DEPTH;
  const captured = new Error();
  engine.stackTraceLimit = limit;
  return captured;
}

const MAX_STACKS = 4096;
const stacks = new Map<string, string>();

/** As `captureStack`, for keeping: nothing but text, and one text for all captures of the same stack. */
export function captureText(): string {
  const stack = captureStack().stack ?? "";
  const known = stacks.get(stack);
  if (known !== undefined) return known;
  if (stacks.size >= MAX_STACKS) stacks.clear();
  stacks.set(stack, stack);
  return stack;
}

// V8: "    at async Bus.reset (file:///x/bus.ts:12:5)" or "    at file:///x/bus.ts:12:5"
const V8 = /^\s+at (?:async )?(?:(.*?) \()?(.*?):(\d+):(\d+)\)?$/;
// Firefox and Safari: "reset@http://x/bus.ts:12:5"
const GECKO = /^(.*?)@(.*?):(\d+):(\d+)$/;

/** A bundler whose output is no module may leave `import.meta` empty. */
const moduleUrl = (import.meta as { readonly url?: string }).url ?? "";

/**
 * Where this package's own code is, built and as it was written, for source maps: its frames say nothing about the
 * lock's user. Bundled with its user's code, it has no folder of its own to leave out.
 */
const ROOT = /^(.*\/lockdep\/)(?:src|dist)\/[^/]*$/.exec(plainPath(moduleUrl))?.[1];
const isOwn = (file: string): boolean =>
  ROOT !== undefined && (file.startsWith(`${ROOT}dist/`) || file.startsWith(`${ROOT}src/`));

/** The frames of a place, innermost first, without this package's own. */
export function frames(site: Site): readonly Frame[] {
  if (typeof site !== "string") return site instanceof Error ? frames(site.stack ?? "") : site;
  const parsed: Frame[] = [];
  for (const text of site.split("\n")) {
    const match = V8.exec(text) ?? GECKO.exec(text);
    if (!match) continue;
    const file = plainPath(match[2]!);
    if (isOwn(file)) continue;
    if (file.startsWith("node:internal") || file === "<anonymous>") continue;
    parsed.push({ fn: match[1] ?? "", file, line: Number(match[3]), column: Number(match[4]) });
  }
  return parsed;
}

/** "bus.ts:12:5": the innermost place outside this package. */
export function callSite(captured: Error): string {
  const frame = frames(captured)[0];
  if (!frame) return "lock without a name";
  return `${frame.file.slice(frame.file.lastIndexOf("/") + 1)}:${frame.line}:${frame.column}`;
}

function plainPath(url: string): string {
  return url.startsWith("file://") ? url.slice("file://".length) : url;
}
