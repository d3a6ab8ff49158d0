import { nameOf, type Fact, type Instr, type Mode, type Program } from "./program.js";

/** A program as the generator makes it, and as it is shrunk: what stands inside something goes with it. */
export interface Sketch {
  readonly plain: boolean;
  readonly never?: readonly Fact[];
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
  /** A piece that says which plain fields it uses. There are no places in it. */
  | { readonly nest: "says"; readonly inside: readonly Item[] }
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

type Choices = readonly (readonly [weight: number, make: () => Instr])[];

/** A random program: a few tasks, with few objects, so that they meet. */
export function sketch(seed: number): Sketch {
  return new Maker(seed).sketch();
}

class Maker {
  readonly #below: (bound: number) => number;
  readonly #objects: number;
  readonly #plain: boolean;
  readonly #tasks: number;
  /** So many of the last tasks begin when another one starts them: who does. */
  readonly #starters: readonly (number | undefined)[];
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
    const late = Math.max(0, this.#below(this.#tasks + 3) - 3);
    this.#starters = Array.from({ length: this.#tasks }, (_, i) =>
      i < this.#tasks - late ? undefined : this.#below(i),
    );
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
    const tasks = this.#starters.map((starter, i) => ({
      late: starter !== undefined,
      items: this.#task(i, size),
    }));
    for (const [i, starter] of this.#starters.entries()) {
      if (starter === undefined) continue;
      const { items } = tasks[starter]!;
      items.splice(this.#below(items.length + 1), 0, { do: "start", task: nameOf(i) });
    }
    const never = this.#chance(0.15) ? [this.#fact(), this.#fact()] : undefined;
    return { plain: this.#plain, tasks, ...(never && { never }) };
  }

  #fact(): Fact {
    const name = nameOf(this.#below(this.#tasks));
    const { lock } = this.#use();
    const facts: Fact[] = [
      { cell: this.#name("c"), has: name },
      { lock, holder: name },
      { lock, waits: true },
    ];
    return this.#one(...facts, ...(this.#plain ? [{ field: this.#name("p"), has: name }] : []));
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
      ...this.#seen(),
      ...(this.#plain ? this.#fields() : []),
      [this.#plain ? 1 : 0, () => ({ do: "start", task: this.#other() })],
      [1, () => ({ do: "step" })],
      [1, () => ({ do: "preempt" })],
      [1, () => ({ do: "gap", how: this.#one("null", "then", "helper") })],
      [1, () => ({ do: "await", promise: this.#name("d") })],
      [2, () => ({ do: "resolve", promise: this.#name("d") })],
      [1, () => ({ do: "sleep", ms: 1 + this.#below(2) })],
      [2, () => ({ do: "join", task: this.#other() })],
      [2, () => ({ do: "abort", task: this.#other() })],
      [1, () => ({ do: "cancel", signal: "k0" })],
      [1, () => this.#timer()],
      [1, () => ({ do: "stop", timer: this.#one(...(this.#plain ? this.#timers : this.#own), "t0") })],
    ]);
  }

  /** What is part of the piece in which it stands, and is seen by the explorer. */
  #seen(): Choices {
    return [
      [1, () => ({ do: "append", cell: this.#name("c") })],
      [1, () => ({ do: "see", cell: this.#name("c") })],
      [2, () => ({ do: "look", lock: this.#use().lock, at: this.#one("owner", "waiters", "state") })],
      [1, () => ({ do: "release", ...this.#use() })],
      ...this.#signals(),
      [1, () => ({ do: "fail", when: nameOf(this.#below(this.#tasks)) })],
      [1, () => ({ do: "now" })],
    ];
  }

  #fields(): Choices {
    return [
      [2, () => ({ do: "append", field: this.#name("p") })],
      [2, () => ({ do: "see", field: this.#name("p") })],
      [2, () => ({ do: "put", field: this.#name("p") })],
    ];
  }

  #nest(depth: number): Item {
    const inside = this.#chance(0.85) ? this.#items(1 + this.#below(2), depth) : [];
    if (this.#chance(0.1)) return { nest: "call", inside };
    if (this.#chance(0.1)) {
      const choices = [...this.#seen(), ...(this.#chance(0.7) ? this.#fields() : [])];
      return {
        nest: "says",
        inside: Array.from({ length: this.#below(3) }, () => this.#weighted(choices)),
      };
    }
    const use = this.#use();
    const tries = ["write", "read", "recursive", "permit", "consume", "send", "receive"];
    if (tries.includes(use.mode) && this.#chance(0.3)) return { nest: "try", ...use, inside };
    return {
      ...{ nest: "take", ...use, inside, caught: this.#chance(0.7), keep: this.#chance(0.05) },
      downgrade: use.mode === "write" && use.lock.startsWith("r") && this.#chance(0.3),
      ...(this.#chance(0.3) && { signal: this.#signal() }),
      ...(this.#chance(0.15) && { limit: 1 + this.#below(2) }),
    };
  }

  #signal(): string {
    const signal = this.#chance(0.7) ? "k0" : nameOf(0); // which is never late
    return this.#chance(0.8) ? signal : `any ${signal}`;
  }

  /** What lets go on those who wait for objects of the chosen kinds. */
  #signals(): Choices {
    const acts = { q: ["post"], l: ["countDown"], v: ["notify", "notifyAll"], h: ["close"] } as const;
    return this.#kinds.flatMap((kind) =>
      kind in acts
        ? acts[kind as keyof typeof acts].map(
            (what) =>
              [
                2,
                () => ({
                  ...{ do: what, lock: this.#name(kind) },
                  ...((what === "post" || what === "countDown") && this.#chance(0.2) && { permits: 2 }),
                }),
              ] as const,
          )
        : [],
    );
  }

  #timer(): Instr {
    const timer = `t${this.#current}${this.#timers.length}`;
    this.#timers.push(timer);
    this.#own.push(timer);
    const plain: Choices = [
      [1, () => ({ do: "start", task: this.#other() })],
      [1, () => ({ do: "append", field: this.#name("p") })],
    ];
    const act = this.#weighted([
      [1, () => ({ do: "append", cell: this.#name("c") })],
      [1, () => ({ do: "cancel", signal: "k0" })],
      [1, () => ({ do: "abort", task: this.#other(true) })],
      [1, () => ({ do: "resolve", promise: this.#name("d") })],
      ...this.#signals(),
      ...(this.#plain ? plain : []),
    ]);
    // A latch that is at 0 would throw, outside of any task.
    const throws = act.do === "countDown";
    return { do: "timer", timer, ms: 1 + this.#below(2), act: throws ? { do: "cancel", signal: "k0" } : act };
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
   * Whether a task has been started yet is a plain field, too: where there are none, only who starts it may know, and
   * does not when its timers fire.
   */
  readonly #other = (timer = false): string => {
    const known = this.#starters.flatMap((starter, i) =>
      this.#plain || starter === undefined || (starter === this.#current && !timer) ? [nameOf(i)] : [],
    );
    return this.#one(...known);
  };
  #weighted(choices: Choices): Instr {
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
    return item.nest === "call" || ("mode" in item && item.mode === "once") ? inside : [{ ...item, inside }];
  };
  return { ...whole, tasks: whole.tasks.map((task) => ({ ...task, items: task.items.flatMap(known) })) };
}

/** The flat lists that are run and enumerated. */
export function flatten({ plain, tasks, never }: Sketch): Program {
  const each = (item: Item): readonly Item[] => {
    if ("nest" in item) return [{ ...item, inside: item.inside.flatMap(each) }];
    // An access to a cell promises that what follows, up to the next place, uses no plain fields.
    return plain && (item.do === "get" || item.do === "set") ? [item, { do: "step" }] : [item];
  };
  return {
    ...{ plain, tasks: tasks.map(({ late, items }) => ({ late, code: items.flatMap(each).flatMap(flat) })) },
    ...(never && { never }),
  };
}

function flat(item: Item): readonly Instr[] {
  if (!("nest" in item)) return [item];
  if (item.nest === "call") return [{ do: "call" }, ...item.inside.flatMap(flat), { do: "return" }];
  if (item.nest === "says") {
    const code = item.inside.flatMap(flat);
    const touches = [...new Set(code.flatMap((instr) => ("field" in instr ? [instr.field] : [])))];
    return [{ do: "step", touches }, ...code, { do: "step" }];
  }
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
  const { never, ...rest } = whole;
  if (never) yield rest;
  for (const i of never?.keys() ?? []) yield { ...whole, never: never!.toSpliced(i, 1) };
  for (const [i, task] of whole.tasks.entries())
    for (const items of fewer(task.items, whole.plain))
      yield { ...whole, tasks: whole.tasks.with(i, { ...task, items }) };
}

function* fewer(items: readonly Item[], plain: boolean): Generator<readonly Item[]> {
  for (const [i, item] of items.entries()) {
    yield items.toSpliced(i, 1);
    if (!("nest" in item)) continue;
    // Where there are no plain fields, a piece uses some only if it says so.
    if (plain || item.nest !== "says") yield items.toSpliced(i, 1, ...item.inside);
    if ("signal" in item) {
      const { signal: _, ...rest } = item;
      yield items.with(i, rest);
    }
    if ("limit" in item) {
      const { limit: _, ...rest } = item;
      yield items.with(i, rest);
    }
    if ("downgrade" in item && item.downgrade) yield items.with(i, { ...item, downgrade: false });
    for (const inside of fewer(item.inside, plain)) yield items.with(i, { ...item, inside });
  }
}
