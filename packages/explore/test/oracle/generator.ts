import { nameOf, type Instr, type Mode, type Program } from "./program.js";

/** A program as the generator makes it, and as it is shrunk: what stands inside something goes with it. */
export interface Sketch {
  readonly plain: boolean;
  readonly tasks: readonly { readonly late: boolean; readonly items: readonly Item[] }[];
}

export type Item = Instr | Nest;

interface Use {
  readonly lock: string;
  readonly mode: Mode;
  readonly permits?: number;
}

type Nest =
  | (Use & {
      readonly nest: "take";
      readonly signal?: string;
      readonly limit?: number;
      /** A wait that fails passes over what is inside. Else it ends the task. */
      readonly caught: boolean;
      /** The lock is not let go at the end. */
      readonly keep: boolean;
      /** A writer becomes a reader half-way. */
      readonly downgrade: boolean;
      readonly inside: readonly Item[];
    })
  | (Use & { readonly nest: "try"; readonly inside: readonly Item[] })
  | { readonly nest: "call"; readonly inside: readonly Item[] };

/** Numbers below a bound, the same for the same seed (mulberry32). */
export function dice(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

/** A random program: a few tasks, with few objects, so that they meet. */
export function sketch(seed: number): Sketch {
  return new Maker(seed).sketch();
}

class Maker {
  readonly #below: (bound: number) => number;
  readonly #objects: number;
  readonly #plain: boolean;
  readonly #tasks: number;
  readonly #late: boolean;
  /** First letters of the objects that are used. */
  readonly #kinds: readonly string[];
  readonly #timers: string[] = [];
  /** Those of the current task: only who sets a timer may know whether it is set, unless there are plain fields. */
  #own: string[] = [];
  #current = 0;

  constructor(seed: number) {
    this.#below = dice(seed);
    this.#objects = 1 + this.#below(2);
    this.#plain = this.#below(3) === 0;
    this.#tasks = 2 + this.#below(2);
    this.#late = this.#below(4) === 0;
    this.#kinds = this.#chance(0.4)
      ? ["m", "m", "r"]
      : this.#one(
          ["m"],
          ["r"],
          ["m", "s"],
          ["s", "q"],
          ["m", "v"],
          ["m", "b"],
          ["l", "r"],
          ["h"],
          ["h", "m"],
          ["o", "m"],
        );
  }

  sketch(): Sketch {
    const size = this.#tasks === 2 ? 4 : 3;
    const tasks = Array.from({ length: this.#tasks }, (_, i) => ({
      late: this.#late && i === this.#tasks - 1,
      items: this.#task(i, size),
    }));
    if (!this.#late) return { plain: this.#plain, tasks };
    const start: Instr = { do: "start", task: nameOf(this.#tasks - 1) };
    const [first, ...others] = tasks;
    const at = this.#below(first!.items.length + 1);
    return {
      plain: this.#plain,
      tasks: [{ ...first!, items: first!.items.toSpliced(at, 0, start) }, ...others],
    };
  }

  #task(index: number, size: number): Item[] {
    this.#current = index;
    this.#own = [];
    return this.#items(size, 2);
  }

  #items(most: number, depth: number): Item[] {
    return Array.from({ length: most - this.#below(2) }, () => this.#item(depth));
  }

  #item(depth: number): Item {
    if (depth > 0 && this.#chance(0.5)) return this.#nest(depth - 1);
    return this.#weighted([
      [2, () => ({ do: "get", cell: this.#name("c") })],
      [2, () => ({ do: "set", cell: this.#name("c") })],
      [1, () => ({ do: "append", cell: this.#name("c") })],
      [1, () => ({ do: "see", cell: this.#name("c") })],
      [this.#plain ? 2 : 0, () => ({ do: "append", field: this.#name("p") })],
      [this.#plain ? 2 : 0, () => ({ do: "see", field: this.#name("p") })],
      [this.#plain ? 2 : 0, () => ({ do: "put", field: this.#name("p") })],
      [1, () => ({ do: "step" })],
      [1, () => ({ do: "preempt" })],
      [1, () => ({ do: "gap", how: this.#one("null", "then", "helper") })],
      [1, () => ({ do: "await", promise: this.#name("d") })],
      [2, () => ({ do: "resolve", promise: this.#name("d") })],
      [1, () => ({ do: "sleep", ms: 1 + this.#below(2) })],
      [2, () => ({ do: "join", task: this.#other() })],
      [2, () => ({ do: "abort", task: this.#other() })],
      [1, () => ({ do: "cancel", signal: "k0" })],
      [2, () => ({ do: "look", lock: this.#use().lock, at: this.#one("owner", "waiters", "state") })],
      [1, () => ({ do: "release", ...this.#use() })],
      ...this.#signals(),
      [1, () => ({ do: "fail", when: nameOf(this.#below(this.#tasks)) })],
      [1, () => this.#timer()],
      [1, () => ({ do: "stop", timer: this.#one(...(this.#plain ? this.#timers : this.#own), "t0") })],
      [1, () => ({ do: "now" })],
    ]);
  }

  #nest(depth: number): Item {
    const inside = this.#chance(0.85) ? this.#items(1 + this.#below(2), depth) : [];
    if (this.#chance(0.1)) return { nest: "call", inside };
    const use = this.#use();
    const tries = ["write", "read", "recursive", "permit", "consume", "send", "receive"];
    if (tries.includes(use.mode) && this.#chance(0.3)) return { nest: "try", ...use, inside };
    return {
      ...{ nest: "take", ...use, inside, caught: this.#chance(0.7), keep: this.#chance(0.05) },
      downgrade: use.mode === "write" && use.lock.startsWith("r") && this.#chance(0.3),
      ...(this.#chance(0.25) && { signal: "k0" }),
      ...(this.#chance(0.15) && { limit: 1 + this.#below(2) }),
    };
  }

  /** What lets go on those who wait for objects of the chosen kinds. */
  #signals(): (readonly [number, () => Instr])[] {
    const acts = { q: ["post"], l: ["countDown"], v: ["notify", "notifyAll"], h: ["close"] } as const;
    return this.#kinds.flatMap((kind) =>
      kind in acts
        ? acts[kind as keyof typeof acts].map(
            (what) => [2, () => ({ do: what, lock: this.#name(kind) })] as const,
          )
        : [],
    );
  }

  #timer(): Instr {
    const timer = `t${this.#current}${this.#timers.length}`;
    this.#timers.push(timer);
    this.#own.push(timer);
    const act = this.#weighted([
      [1, () => ({ do: "append", cell: this.#name("c") })],
      [1, () => ({ do: "cancel", signal: "k0" })],
      [1, () => ({ do: "abort", task: nameOf(this.#below(2)) })],
      [1, () => ({ do: "resolve", promise: this.#name("d") })],
    ]);
    return { do: "timer", timer, ms: 1 + this.#below(2), act };
  }

  #use(): Use {
    const kind = this.#one(...this.#kinds);
    const lock = this.#name(kind);
    switch (kind) {
      case "r":
        return { lock, mode: this.#one<Mode>("read", "recursive", "write", "write") };
      case "s":
        return { lock, mode: "permit", permits: lock === "s1" ? 1 + this.#below(2) : 1 };
      case "h":
        return { lock, mode: this.#one<Mode>("send", "receive") };
      case "q":
        return { lock, mode: "consume", permits: this.#chance(0.8) ? 1 : 2 };
      case "o":
        return { lock, mode: "once" };
      case "m":
        return { lock, mode: "write" };
      default:
        return { lock, mode: "wait" };
    }
  }

  readonly #name = (kind: string): string => `${kind}${this.#below(this.#objects)}`;
  /**
   * Whether a task has been started yet is a plain field, too: where there are none, only who starts it may know.
   */
  readonly #other = (): string => {
    const hidden = this.#late && !this.#plain && this.#current > 0;
    return nameOf(this.#below(this.#tasks - Number(hidden)));
  };
  #weighted(choices: readonly (readonly [weight: number, make: () => Instr])[]): Instr {
    let at = this.#below(choices.reduce((sum, [weight]) => sum + weight, 0));
    return choices.find(([weight]) => (at -= weight) < 0)![1]();
  }

  readonly #chance = (of: number): boolean => this.#below(1000) < of * 1000;
  readonly #one = <T>(...all: readonly T[]): T => all[this.#below(all.length)]!;
}

/** The program without `await`s of what the explorer did not make: `preempt`s stand for them. */
export function withoutForeign(whole: Sketch): Sketch {
  const known = (item: Item): readonly Item[] => {
    if ("do" in item) return item.do === "gap" || item.do === "await" ? [{ do: "preempt" }] : [item];
    const inside = item.inside.flatMap(known);
    // What a once runs is an async function of the program's own.
    return item.nest === "call" || item.mode === "once" ? inside : [{ ...item, inside }];
  };
  return { ...whole, tasks: whole.tasks.map((task) => ({ ...task, items: task.items.flatMap(known) })) };
}

/** The flat lists that are run and enumerated. */
export function flatten({ plain, tasks }: Sketch): Program {
  const each = (item: Item): readonly Item[] => {
    if ("nest" in item) return [{ ...item, inside: item.inside.flatMap(each) }];
    // An access to a cell promises that what follows, up to the next place, uses no plain fields.
    return plain && (item.do === "get" || item.do === "set") ? [item, { do: "step" }] : [item];
  };
  return {
    plain,
    tasks: tasks.map(({ late, items }) => ({ late, code: items.flatMap(each).flatMap(flat) })),
  };
}

function flat(item: Item): readonly Instr[] {
  if (!("nest" in item)) return [item];
  if (item.nest === "call") return [{ do: "call" }, ...item.inside.flatMap(flat), { do: "return" }];
  const { lock, mode, permits } = item;
  const use = { lock, mode, ...(permits !== undefined && { permits }) };
  const half = Math.floor(item.inside.length / 2);
  const [before, after] = [item.inside.slice(0, half).flatMap(flat), item.inside.slice(half).flatMap(flat)];
  const held = ["write", "read", "recursive", "permit"].includes(mode);
  const release: Instr[] = held ? [{ do: "release", ...use }] : [];
  if (item.nest === "try") {
    const rest = [...before, ...after, ...release];
    return [{ do: "try", ...use, skip: rest.length }, ...rest];
  }
  const { caught, signal, limit } = item;
  const ends: Instr[] =
    mode === "once"
      ? [{ do: "made", lock, caught }]
      : item.downgrade
        ? [{ do: "release", lock, mode: "read" }]
        : release;
  const rest: Instr[] = [
    ...before,
    ...(item.downgrade ? [{ do: "downgrade", lock } as const] : []),
    ...after,
    ...(item.keep && mode !== "once" ? [] : ends),
  ];
  const options = { ...(signal !== undefined && { signal }), ...(limit !== undefined && { limit }) };
  return [{ do: "take", ...use, skip: rest.length, caught, ...options }, ...rest];
}

/** Programs that lack one thing of this one. */
export function* smaller(whole: Sketch): Generator<Sketch> {
  for (const [i, task] of whole.tasks.entries())
    for (const items of fewer(task.items)) yield { ...whole, tasks: whole.tasks.with(i, { ...task, items }) };
}

function* fewer(items: readonly Item[]): Generator<readonly Item[]> {
  for (const [i, item] of items.entries()) {
    yield items.toSpliced(i, 1);
    if (!("nest" in item)) continue;
    yield items.toSpliced(i, 1, ...item.inside);
    if ("signal" in item) {
      const { signal: _, ...rest } = item;
      yield items.with(i, rest);
    }
    if ("limit" in item) {
      const { limit: _, ...rest } = item;
      yield items.with(i, rest);
    }
    if ("downgrade" in item && item.downgrade) yield items.with(i, { ...item, downgrade: false });
    for (const inside of fewer(item.inside)) yield items.with(i, { ...item, inside });
  }
}
