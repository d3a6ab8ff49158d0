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

/** What V8 has, and other engines by and by: a depth, and a stack that begins outside of a given function. */
const engine = Error as {
  stackTraceLimit?: number | undefined;
  captureStackTrace?: (target: object, outsideOf?: object) => void;
};

// V8: "    at async Bus.reset (file:///x/bus.ts:12:5)" or "    at file:///x/bus.ts:12:5"
const V8 = /^\s+at (?:async )?(?:(.*?) \()?(.*?):(\d+):(\d+)\)?$/;
// Firefox and Safari: "reset@http://x/bus.ts:12:5"
const GECKO = /^(.*?)@(.*?):(\d+):(\d+)$/;

/**
 * The folder of this package's own files, built and as they were written, for source maps: their frames say nothing
 * about the lock's user. Undefined in a bundle, where one file is everybody's: there a stack is cut at the function
 * that the user called (`EntryPoints`).
 */
const HOME = /^(.*\/lockdep\/)(?:src|dist)\/stack\.[jt]s$/.exec(
  parse(capture().stack ?? "")[0]?.file ?? "",
)?.[1];

/** The public functions through which the user's code may have come in. They call none of the user's functions. */
export type EntryPoints = readonly object[];

const methods = new WeakMap<object, EntryPoints>();

/** Every method of an object: its entry points. */
export function methodsOf(object: object): EntryPoints {
  const prototype = Object.getPrototypeOf(object) as object;
  const known = methods.get(prototype);
  if (known) return known;
  const found: object[] = [];
  for (let at = prototype; at !== Object.prototype; at = Object.getPrototypeOf(at) as object)
    for (const key of Reflect.ownKeys(at)) {
      const value: unknown = Object.getOwnPropertyDescriptor(at, key)?.value;
      if (typeof value === "function") found.push(value);
    }
  methods.set(prototype, found);
  return found;
}

/** Remembers where the caller is. Costs a microsecond or two; reading it (`frames`) costs more. */
export function captureStack(entryPoints?: EntryPoints): Error {
  return (HOME === undefined && entryPoints && outside(entryPoints)) || capture();
}

const MAX_STACKS = 4096;
const stacks = new Map<string, string>();

/** As `captureStack`, for keeping: nothing but text, and one text for all captures of the same stack. */
export function captureText(entryPoints?: EntryPoints): string {
  const stack = captureStack(entryPoints).stack ?? "";
  const known = stacks.get(stack);
  if (known !== undefined) return known;
  if (stacks.size >= MAX_STACKS) stacks.clear();
  stacks.set(stack, stack);
  return stack;
}

/** Where an object is being constructed: outside of its constructor (`new.target`). */
export function captureConstruction(constructor: object): Error {
  return engine.captureStackTrace ? outsideOf(constructor, 4) : capture();
}

/** The frames of a place, innermost first, without this package's own. */
export function frames(site: Site): readonly Frame[] {
  if (typeof site !== "string") return site instanceof Error ? frames(site.stack ?? "") : site;
  return parse(site).filter(
    ({ file }) => !isOwn(file) && !file.startsWith("node:") && file !== "<anonymous>",
  );
}

function parse(stack: string): Frame[] {
  const parsed: Frame[] = [];
  for (const text of stack.split("\n")) {
    const match = V8.exec(text) ?? GECKO.exec(text);
    if (!match) continue;
    const [, fn = "", file = "", line, column] = match;
    parsed.push({ fn, file: plainPath(file), line: Number(line), column: Number(column) });
  }
  return parsed;
}

/** "bus.ts:12:5": where an object was constructed; undefined where stacks do not tell. */
export function callSite(constructed: Error): string | undefined {
  const frame = frames(constructed)[0];
  // Without a folder of its own and without V8's help, the first frame may be this package's.
  if (!frame || (HOME === undefined && !engine.captureStackTrace)) return undefined;
  return `${shortName(frame.file)}:${frame.line}:${frame.column}`;
}

const shortNames = new Map<string, string>();

/** The name of a file, with as many of its folders as tell it from the others seen: "bus.ts", or "pci/bus.ts". */
function shortName(path: string): string {
  const parts = path.split(/[/\\]/);
  for (let from = parts.length - 1; from >= 0; from--) {
    const name = parts.slice(from).join("/");
    const taken = shortNames.get(name);
    if (taken === path) return name;
    if (taken !== undefined && from > 0) continue;
    shortNames.set(name, path);
    return name;
  }
  return path;
}

/** The stack outside of the outermost entry point that it came through; undefined if there is none in it. */
function outside(entryPoints: EntryPoints): Error | undefined {
  if (!engine.captureStackTrace) return undefined;
  let found: Error | undefined;
  let depth = Infinity;
  for (const entryPoint of entryPoints) {
    // Most are not there: one frame is enough to see that.
    if (lines(outsideOf(entryPoint, 1)) === 0) continue;
    const stack = outsideOf(entryPoint, DEPTH);
    if (lines(stack) >= depth) continue;
    found = stack;
    depth = lines(stack);
  }
  return found;
}

function outsideOf(entryPoint: object, depth: number): Error {
  const limit = engine.stackTraceLimit;
  setDepth(0);
  const captured = new Error();
  setDepth(depth);
  engine.captureStackTrace!(captured, entryPoint);
  setDepth(limit);
  return captured;
}

function capture(): Error {
  const limit = engine.stackTraceLimit;
  setDepth(DEPTH);
  const captured = new Error();
  setDepth(limit);
  return captured;
}

/** Where intrinsics are frozen this does nothing, and a plain assignment would throw. */
function setDepth(depth: number | undefined): void {
  Reflect.set(engine, "stackTraceLimit", depth);
}

const lines = (captured: Error): number => (captured.stack ?? "").split("\n    at ").length - 1;

function isOwn(file: string): boolean {
  return HOME !== undefined && (file.startsWith(`${HOME}dist/`) || file.startsWith(`${HOME}src/`));
}

function plainPath(url: string): string {
  return url.startsWith("file://") ? url.slice("file://".length) : url;
}
