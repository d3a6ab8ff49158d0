import type { AccessName, LockUse, Order, Place, TaskName } from "../problem.js";
import type { Frame } from "../stack.js";
import { plainLine } from "./lines.js";
import type { Splat, SplatProblem } from "./splat.js";

const TITLE =
  /^(?:\[ )?(?:WARNING|BUG|INFO): (possible circular locking dependency detected|possible recursive locking detected|inconsistent lock state|bad unlock balance detected!|lock held when returning to user space!|\S+ still has locks held!|possible irq lock inversion dependency detected|\S+-safe -> \S+-unsafe lock order detected|held lock freed!|suspicious RCU usage|Nested lock was not taken|Invalid wait context)/;

/** "ffffffff81614180 (a){+.+.}-{4:4}, at: ba+0x20/0x3b"; old kernels print no address, torn lines no place. */
const LOCK = /^\s*(?:#(\d+):\s+)?(?:(\S+)\s+)?\((.+)\)\s*\{([^}]*)\}(?:-\{\d+:\d+\})?(.*)$/;
const PLACE = /^,?\s*(?:first seen \(by \S+\) )?at:\s*(.*)$/;
const ENTRY = /^\s*-> #(\d+) \((.+)\)\s*\{([^}]*)\}/;
/** "       down_read+0x28/0x8d [module] kernel/locking/rwsem.c:12 [inline]", with an address in old kernels. */
const FRAME =
  /^\s+(?:\[<[0-9a-f]*>\]\s*)?(?:\? )?([\w.$]+(?:\+0x[0-9a-f]+\/0x[0-9a-f]+)?)(?: \[[\w-]+\])?(?: (\S+?):(\d+))?(?: \[inline\])?\s*$/;
/** "  Device.reset (src/device.ts:12:5)": the frames of this package's own reports. */
const OWN_FRAME = /^\s+(?:(\S.*?) \((?=.*\)))?(\/?[^\s:()]+):(\d+):(\d+)\)?(?:\s+# .*)?$/;

/** Functions that every stack of an acquisition begins or ends with: they say nothing about who took the lock. */
const MACHINERY =
  /^(?:_*lock_acquire|_*mutex_lock\w*|_*(?:down|percpu_down)_\w+|_raw_\w+|rt_(?:spin|mutex)_\w+|_*rwsem_\w+|find_held_lock|validate_chain|check_\w+|graph_lock|register_lock_class|mark_lock\w*|_*kthread_\w+|kthread|ret_from_fork\w*|runner)$/;

/** How many lines another printk may push into the middle of one of the kernel's. */
const TEAR = 6;

/** Finds every lockdep report in a kernel log: with or without times, several in one log, other lines in between. */
export function parseKernelLog(log: string): Splat[] {
  const lines = log.split("\n").map(plainLine);
  const starts = lines.flatMap((line, i) => (TITLE.test(line) ? [i] : []));
  return starts.map((start, i) =>
    new SplatReader(lines.slice(start, starts[i + 1] ?? lines.length), start + 1).splat(),
  );
}

/** One of "the existing dependency chain". */
interface Entry {
  readonly class: string;
  readonly usage: LockUse["usage"];
  readonly access: AccessName;
  readonly frames: Place;
}

class SplatReader {
  constructor(
    private readonly lines: readonly string[],
    private readonly line: number,
  ) {}

  splat(): Splat {
    const title = TITLE.exec(this.lines[0]!)![1]!.trim();
    const kernel = this.#find(/^(\S+ #\d+.* (?:Not tainted|Tainted: .*?))\s*$/, 0, 4)?.[1] ?? "";
    return { line: this.line, title, kernel, problem: this.#problem(title) };
  }

  #problem(title: string): SplatProblem | undefined {
    if (title.startsWith("possible circular")) return this.#cycle();
    if (title.startsWith("possible recursive")) return this.#recursion();
    if (title.startsWith("inconsistent")) return this.#inconsistent();
    if (title.startsWith("bad unlock")) return this.#badUnlock();
    if (title.startsWith("lock held when") || title.includes("still has locks")) return this.#heldAtExit();
    return undefined;
  }

  #cycle(): SplatProblem | undefined {
    const task = this.#task(/^(\S.*)\/(\d+) is trying to acquire lock:/);
    const acquiring = this.#lockAfter(/is trying to acquire lock:/);
    const holding = this.#lockAfter(/but task is already holding lock:/);
    const entries = this.#entries();
    if (!task || !acquiring || !holding || entries.length < 2) return undefined;
    // Entry #n was taken while the lock of #n-1 was held, and #0, the new one, while that of the last was.
    const orders = entries.map((entry, n): Order => {
      const isNew = n === 0;
      const before = entries[(n === 0 ? entries.length : n) - 1]!;
      return {
        from: before.class,
        to: entry.class,
        // The log does not tell how the earlier ones were held: as they were taken elsewhere, most likely.
        held: isNew ? this.#scenario(holding) : before.access,
        acquired: entry.access,
        usage: entry.usage,
        task: isNew ? task : { name: nameOfFrame(entry.frames), id: 0 },
        heldAt: isNew ? holding.at : [],
        at: isNew ? withOwner(entry.frames, acquiring.at) : fromCaller(entry.frames),
        besides: [],
      };
    });
    return {
      kind: "cycle",
      task,
      acquiring: { ...acquiring, access: entries[0]!.access },
      holding: { ...holding, access: this.#scenario(holding) },
      orders: [...orders.slice(1), orders[0]!],
      held: this.#held(),
    };
  }

  /** How a lock is held, by the kernel's own "Possible unsafe locking scenario". */
  #scenario(lock: LockUse): AccessName {
    const read = this.lines.some((line) => line.trim() === `rlock(${lock.class});`);
    return read ? "read" : lock.access;
  }

  #recursion(): SplatProblem | undefined {
    const task = this.#task(/^(\S.*)\/(\d+) is trying to acquire lock:/);
    const acquiring = this.#lockAfter(/is trying to acquire lock:/);
    const holding = this.#lockAfter(/but task is already holding lock:/);
    if (!task || !acquiring || !holding) return undefined;
    const sameLock = acquiring.lock !== "" && acquiring.lock === holding.lock;
    return { kind: "recursion", task, acquiring, holding, sameLock, held: this.#held() };
  }

  #inconsistent(): SplatProblem | undefined {
    const usage = this.#find(/^inconsistent \{([\w-]+)\} -> \{([\w-]+)\} usage/);
    const task = this.#task(/^(\S.*)\/(\d+) \[HC\d.*\] takes:/);
    const lock = this.#lockAfter(/\] takes:/);
    if (!usage || !task || !lock) return undefined;
    const registered = this.lines.findIndex((line) => line.includes("state was registered at:"));
    return {
      kind: "inconsistent-state",
      task,
      lock,
      before: usage[1]!,
      now: usage[2]!,
      registeredAt: registered < 0 ? [] : fromCaller(this.#frames(registered + 1)),
      held: this.#held(),
    };
  }

  #badUnlock(): SplatProblem | undefined {
    const found = this.#find(/^(\S.*)\/(\d+) is trying to release lock \((.+)\) at:\s*(.*)$/);
    if (!found) return undefined;
    const start = this.lines.findIndex((line) => line.includes("is trying to release lock"));
    const own =
      found[4] === ""
        ? this.lines.slice(start + 1, start + TEAR).find((line) => isFrame(` ${line}`))
        : found[4];
    const frame = own === undefined ? undefined : parseFrame(` ${own}`);
    return {
      kind: "bad-unlock",
      task: { name: found[1]!, id: Number(found[2]) },
      lock: "",
      class: found[3]!,
      at: frame ? [frame] : [],
      held: this.#held(),
    };
  }

  #heldAtExit(): SplatProblem | undefined {
    const task =
      this.#task(/^(\S.*)\/(\d+) is leaving the kernel with locks still held!/) ??
      this.#task(/(?:WARNING|BUG): (\S.*)\/(\d+) still has locks held!/);
    const held = this.#held();
    if (!task || held.length === 0) return undefined;
    return { kind: "held-at-exit", task, at: held.at(-1)!.at, held };
  }

  // ---- the pieces ----

  #find(pattern: RegExp, from = 0, count = this.lines.length): RegExpExecArray | undefined {
    for (const line of this.lines.slice(from, from + count)) {
      const match = pattern.exec(line);
      if (match) return match;
    }
    return undefined;
  }

  #task(pattern: RegExp): TaskName | undefined {
    const match = this.#find(pattern);
    return match && { name: match[1]!, id: Number(match[2]) };
  }

  #lockAfter(pattern: RegExp): LockUse | undefined {
    const start = this.lines.findIndex((line) => pattern.test(line));
    if (start < 0) return undefined;
    for (let i = start + 1; i <= start + TEAR; i++) if (LOCK.test(this.lines[i] ?? "")) return this.#lock(i);
    return undefined;
  }

  /** The lock in line `i`; its place may have been torn off, into one of the next lines. */
  #lock(i: number): LockUse {
    const [, , address, lockClass, usage, rest] = LOCK.exec(this.lines[i]!)!;
    let place = PLACE.exec(rest!)?.[1];
    for (let next = i + 1; place === undefined && next <= i + TEAR; next++) {
      const line = this.lines[next] ?? "";
      if (line.startsWith(",")) place = PLACE.exec(line)?.[1];
      if (LOCK.test(line)) break;
    }
    if (place?.trim() === "") place = this.lines[i + 1]?.trim(); // wrapped by a mail program
    const frame =
      place === undefined ? undefined : parseFrame(` ${place.replace(/,\s+(?:recursive-)?read$/, "")}`);
    return {
      lock: address ?? "",
      class: lockClass!,
      access: /,\s+(?:recursive-)?read$/.test(rest!) || isReader(frame ? [frame] : []) ? "read" : "exclusive",
      trylock: false,
      usage: usageOf(usage!),
      at: frame ? [frame] : [],
    };
  }

  #entries(): Entry[] {
    const entries: Entry[] = [];
    this.lines.forEach((line, i) => {
      const match = ENTRY.exec(line);
      if (!match) return;
      const frames = this.#frames(i + 1);
      entries[Number(match[1])] = {
        class: match[2]!,
        usage: usageOf(match[3]!),
        access: isReader(frames) ? "read" : "exclusive",
        frames,
      };
    });
    const torn = Array.from(entries).includes(undefined as unknown as Entry);
    return torn ? [] : entries;
  }

  /** The frames from line `i` on, up to an empty line or the next section. Lines of others in between are left out. */
  #frames(i: number): Frame[] {
    const found: Frame[] = [];
    for (const line of this.lines.slice(i)) {
      if (line.trim() === "" && found.length > 0) break;
      if (ENTRY.test(line) || /^(?:other info|irq event stamp|stack backtrace)/.test(line)) break;
      const frame = isFrame(line) ? parseFrame(line) : undefined;
      if (frame) found.push(frame);
    }
    return found;
  }

  #held(): LockUse[] {
    const start = this.lines.findIndex((line) => /^\s*(?:\d+ locks? held by \S|locks held by \S)/.test(line));
    if (start < 0) return [];
    const held: LockUse[] = [];
    for (let i = start + 1; i < this.lines.length; i++) {
      if (/^\s*(?:stack backtrace|the dependencies|CPU: )/.test(this.lines[i]!)) break;
      const match = LOCK.exec(this.lines[i]!);
      // Inlined callers repeat the number, innermost first: the last one is the place.
      if (match?.[1] !== undefined) held[Number(match[1])] = this.#lock(i);
    }
    return held.filter((use) => (use as unknown) !== undefined);
  }
}

function isFrame(line: string): boolean {
  return FRAME.test(line) || OWN_FRAME.test(line);
}

function parseFrame(text: string): Frame | undefined {
  const own = OWN_FRAME.exec(text);
  if (own) return { fn: own[1] ?? "", file: own[2]!, line: Number(own[3]), column: Number(own[4]) };
  const match = FRAME.exec(text.replace(/^\s*\[<[0-9a-f]*>\]/, " ")) ?? /^\s*(\S+)/.exec(text);
  if (!match) return undefined;
  return { fn: match[1]!, file: match[2] ?? "", line: Number(match[3] ?? 0), column: 0 };
}

const functionOf = (frame: Frame): string => frame.fn.replace(/\+0x.*/, "");

/** The stack from the function on that wanted the lock. */
function fromCaller(place: Place): Place {
  const first = place.findIndex((frame) => !MACHINERY.test(functionOf(frame)));
  return first < 0 ? place : place.slice(first);
}

function withOwner(place: Place, at: Place): Place {
  const rest = fromCaller(place);
  return at.length > 0 && rest[0]?.fn !== at[0]!.fn ? [...at, ...rest] : rest;
}

function nameOfFrame(place: Place): string {
  const frame = fromCaller(place)[0];
  return frame ? functionOf(frame) : "somebody";
}

/** The stack went through a function that takes a lock for reading. */
function isReader(place: Place): boolean {
  return place.some((frame) =>
    /^(?:_*down_read|percpu_down_read|_*rwsem_down_read|_raw_read_lock|_*rcu_read_lock|_*srcu_read_lock)/.test(
      frame.fn,
    ),
  );
}

/** {+.+.}: any sign but "." in the first of a pair is an exclusive use, in the second a shared one. */
function usageOf(characters: string): LockUse["usage"] {
  const signs = characters.split("");
  return {
    exclusive: signs.some((sign, i) => i % 2 === 0 && sign !== "."),
    shared: signs.some((sign, i) => i % 2 === 1 && sign !== "."),
  };
}
