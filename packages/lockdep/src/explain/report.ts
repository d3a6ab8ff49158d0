import type { LockUse, Place, TaskName } from "../problem.js";
import type { LogLine } from "./forms.js";
import { fromCaller, functionOf, isReader, parseFrame, usageOf, type StackFrame } from "./frames.js";

/** A part of a report that its sort cannot do without is not there. */
export class Torn extends Error {
  constructor(readonly what: string) {
    super(`${what} is missing`);
  }
}

/** "ffffffff81614180 (a){+.+.}-{4:4}, at: ba+0x20/0x3b"; old kernels print no address, torn lines no place. */
const LOCK = /^(?:#(\d+):\s+)?(?:(\S+)\s+)?\((.+)\)\s*\{([^}]*)\}(?:-\{(\d+):(\d+)\})?(.*)$/;
const PLACE = /^,?\s*(?:first seen \(by \S+\) )?at:\s*(.*)$/;
const READ = /,\s+(?:recursive-)?read$/;
/** "2 locks held by sh/12:", "locks held by sh/12: 2, last CPU#0", "no locks held by sh/12." */
const HELD =
  /^(?:(\d+) locks? held by (.*)\/(\d+):|locks held by (.*)\/(\d+): (\d+)|(no) locks held by (.*)\/(\d+)\.)/;
/** "-> #1 (b){+.+.}-{4:4}:", "-> (b){+.+.} ops: 7 {" */
const ENTRY = /^->\s*(?:#\d+)?\s*\(/;
/** Where a stack is over, whatever else prints between its lines. */
const STACK_END =
  /^(?:other info|irq event stamp|stack backtrace|Call Trace|CPU: \d+|NMI backtrace|Sending NMI|Modules linked in|RIP: |Code: |hardirqs last|-{10,}|={10,}|to a \S+-irq|\.\.\. |\}|the (?:dependencies|shortest)|(?:IN|HARDIRQ|SOFTIRQ|RECLAIM|INITIAL)[\w -]* at:|\d+ locks? held|no locks held|Showing |Preemption disabled at|which |and this|but |Possible |Chain exists|\*\*\* DEADLOCK|---\[ end)/;

/** The printing itself, which a stack of who prints begins with. */
const PRINTING =
  /^(?:dump_(?:stack|backtrace)\w*|show_stack\w*|_*print_\w+|debug_check_no_locks\w*|_*schedule_bug|spin_(?:dump|bug)|rwlock_bug|lockdep_print\w*|(?:v|_*)panic\w*|_*warn\w*|warn_slowpath\w*|report_bug|fixup_bug|handle_bug|do_error_trap|do_invalid_op|(?:asm_)?exc_invalid_op|invalid_op|unwind_backtrace)$/;

/** How many lines another printk may push into the middle of one of the kernel's. */
const TEAR = 6;

/** A lock in a report, with what only kernels have. */
export interface KernelLock extends LockUse {
  readonly at: readonly StackFrame[];
  /** {outer:inner}: 1 RCU, 2 raw spinlock, above them what may sleep; 0 where the report does not print it. */
  readonly waitType: readonly [number, number];
}

/** The lines of one report, title first, and how the kernel's pieces are read. */
export class Report {
  readonly lines: readonly string[];

  constructor(lines: readonly LogLine[]) {
    this.lines = lines.map((line) => line.text);
  }

  find(pattern: RegExp, from = 0, count = this.lines.length): RegExpExecArray | undefined {
    const i = this.index(pattern, from, count);
    return i < 0 ? undefined : pattern.exec(this.lines[i]!)!;
  }

  index(pattern: RegExp, from = 0, count = this.lines.length): number {
    const i = this.lines.slice(from, from + count).findIndex((line) => pattern.test(line));
    return i < 0 ? -1 : from + i;
  }

  need<T>(value: T | undefined, what: string): T {
    if (value === undefined) throw new Torn(what);
    return value;
  }

  /** @param pattern its groups 1 and 2 are name and pid */
  task(pattern: RegExp): TaskName {
    const match = this.need(this.find(pattern), "the line that names the task");
    return { name: match[1]!, id: Number(match[2]) };
  }

  /** The lock in the lines after the one that matches. */
  lockAfter(pattern: RegExp, what: string, tear = TEAR): KernelLock {
    const start = this.index(pattern);
    if (start < 0) throw new Torn(what);
    for (let i = start + 1; i <= start + tear && i < this.lines.length; i++)
      if (LOCK.test(this.lines[i]!)) return this.#outermost(i);
    throw new Torn(what);
  }

  /** A symbolised report repeats the line for every inlined caller, innermost first: the last is the place. */
  #outermost(i: number): KernelLock {
    let last = this.#lock(i);
    for (let next = i + 1; next < this.lines.length; next++) {
      if (!LOCK.test(this.lines[next]!)) {
        if (parseFrame(this.lines[next]!)) continue; // a place that a mail program wrapped
        break;
      }
      const lock = this.#lock(next);
      if (lock.lock !== last.lock || lock.class !== last.class) break;
      last = lock;
    }
    return last;
  }

  /** The lock in line `i`; its place may have been torn off, into one of the next lines. */
  #lock(i: number): KernelLock {
    const [, , address, lockClass, usage, outer, inner, rest] = LOCK.exec(this.lines[i]!)!;
    let place = PLACE.exec(rest!.trim())?.[1];
    for (let next = i + 1; place === undefined && next <= i + TEAR; next++) {
      const line = this.lines[next] ?? "";
      if (/^(?:, )?at: /.test(line)) place = PLACE.exec(line)?.[1];
      if (LOCK.test(line) || line === "") break;
    }
    if (place?.trim() === "") place = this.lines[i + 1]; // wrapped by a mail program
    const frame = place === undefined ? undefined : parseFrame(place.replace(READ, "").trim());
    return {
      lock: address ?? "",
      class: lockClass!,
      access: READ.test(rest!) || isReader(frame ? [frame] : []) ? "read" : "exclusive",
      trylock: false,
      usage: usageOf(usage!),
      at: frame ? [frame] : [],
      waitType: [Number(outer ?? 0), Number(inner ?? 0)],
    };
  }

  /** The frames from line `i` on, up to the next section; what others print in between is left out. */
  frames(i: number): readonly StackFrame[] {
    const found: StackFrame[] = [];
    for (const line of this.lines.slice(i)) {
      if (line === "" ? found.length > 0 : STACK_END.test(line) || ENTRY.test(line)) break;
      const frame = parseFrame(line);
      if (frame) found.push(frame);
    }
    const reliable = found.filter((frame) => !frame.unreliable);
    return reliable.length > 0 ? reliable : found;
  }

  /** The stack of the task that the report is about, without the functions that print it. */
  backtrace(): readonly StackFrame[] {
    const start = this.index(/^(?:Call Trace|Backtrace):/i);
    const stack = start < 0 ? [] : this.frames(start + 1);
    const first = stack.findIndex((frame) => !PRINTING.test(functionOf(frame)));
    return first < 0 ? [] : stack.slice(first);
  }

  /** Whose list of held locks it is, in line `i`. */
  heldHeader(i: number): { readonly task: TaskName; readonly count: number } | undefined {
    const match = HELD.exec(this.lines[i]!);
    if (!match) return undefined;
    const [name, id] = match[1]
      ? [match[2], match[3]]
      : match[4]
        ? [match[4], match[5]]
        : [match[8], match[9]];
    return {
      task: { name: name!, id: Number(id) },
      count: Number(match[1] ?? match[6] ?? 0),
    };
  }

  /** The first list of held locks; `count` is how many there are, where some of the lines are lost. */
  held(): { readonly locks: readonly KernelLock[]; readonly count: number } {
    const start = this.lines.findIndex((_, i) => this.heldHeader(i));
    if (start < 0) return { locks: [], count: 0 };
    return { locks: this.heldFrom(start + 1), count: this.heldHeader(start)!.count };
  }

  heldFrom(start: number): KernelLock[] {
    const held: KernelLock[] = [];
    for (let i = start; i < this.lines.length; i++) {
      if (
        /^(?:stack backtrace|the (?:dependencies|shortest)|CPU: |Showing |=+$|Call Trace)/.test(
          this.lines[i]!,
        )
      )
        break;
      if (this.heldHeader(i)) break;
      const number = LOCK.exec(this.lines[i]!)?.[1];
      // Inlined callers repeat the number, innermost first: the last one is the place.
      if (number !== undefined) held[Number(number)] = this.#lock(i);
    }
    return held.filter((use) => (use as unknown) !== undefined);
  }

  /** What is said of a list of held locks that is not whole. */
  heldNotes(): string[] {
    const { locks, count } = this.held();
    return locks.length < count
      ? [`The list of locks held is torn: ${locks.length} of ${count} are there.`]
      : [];
  }
}

/** A stack to show: from the caller of the locking code on; the caller's own place comes first where it is missing. */
export function callers(stack: readonly StackFrame[], at: readonly StackFrame[] = []): Place {
  const rest = fromCaller(stack);
  const own = fromCaller(at);
  return own.length > 0 && rest[0]?.fn !== own[0]!.fn ? [...own, ...rest] : rest;
}
