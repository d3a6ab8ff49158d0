import type { Demand } from "./demand.js";
import type { Sleep, SubtreeJob, SubtreeResult } from "./subtree.js";

/** What comes of a part, in the order of the search. */
export type Item = { readonly demand: Demand } | { readonly result: SubtreeResult };

/** A thread tried at a place, and all that comes of it. */
export class Part {
  /** What has come of it that nobody has taken. */
  readonly out: Item[] = [];
  /** Nothing more will come. */
  done = false;
  /** What the thread's event touched, once it is known. */
  touched: readonly string[] | undefined;
  /** Where its first job stopped. */
  inner: Place | undefined;

  constructor(
    readonly thread: string,
    /** Undefined: it is the whole. */
    readonly place: Place | undefined,
  ) {}
}

/** A place on the path of a job that stopped: what is left there is shared out. */
export class Place {
  /** In the order of the search. */
  readonly parts: Part[] = [];
  /** The first of them that is not done. */
  at = 0;
  #started = 0;

  constructor(
    /** The threads that lead to it. */
    readonly path: readonly string[],
    private readonly sleep: Sleep,
    /** What it belongs to. */
    readonly owner: Part,
  ) {}

  /** Tried already, or not to be tried. */
  isSettled(thread: string): boolean {
    return Object.hasOwn(this.sleep, thread) || this.parts.some((part) => part.thread === thread);
  }

  /** A thread is to be tried here. */
  add(thread: string): void {
    if (!this.isSettled(thread)) this.parts.push(new Part(thread, this));
  }

  /** The part that its job is in the middle of. */
  begun(thread: string): Part {
    const part = new Part(thread, this);
    part.touched = this.sleep[thread] ?? [];
    this.parts.push(part);
    this.#started++;
    return part;
  }

  /** The next part to be started, if it can be. */
  next(reduces: boolean): Part | undefined {
    const elder = this.parts[this.#started - 1];
    if (reduces && elder && !elder.touched) return undefined;
    return this.parts[this.#started] && this.parts[this.#started++];
  }

  /** Where the part is. */
  root(part: Part): Pick<SubtreeJob, "prefix" | "sleep"> {
    const elders = this.parts.slice(0, this.parts.indexOf(part));
    const tried = elders.map(({ thread, touched }) => [thread, touched ?? []] as const);
    return {
      prefix: [...this.path, part.thread],
      sleep: { ...this.sleep, ...Object.fromEntries(tried) },
    };
  }
}
