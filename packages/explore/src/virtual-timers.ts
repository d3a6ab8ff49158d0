import type { TimerHandle, VirtualClock } from "./virtual-clock.js";

/** Whose timers they are: it is told which signals they look at. */
export interface TimersOwner {
  readonly clock: VirtualClock;
  lookAt(signal: AbortSignal): void;
}

/** What a longer delay is to Node and browsers: none. */
const MAX_DELAY = 2 ** 31 - 1;

let lastId = 0;
/** By the clock of an execution: the timers whose numbers were asked for. */
const numbered = new WeakMap<VirtualClock, Map<number, VirtualTimer>>();

/** What a timer's function gives back. */
export class VirtualTimer {
  #handle: TimerHandle | undefined;
  #isRef = true;
  #id: number | undefined;

  constructor(
    private readonly clock: VirtualClock,
    private readonly callback: () => void,
    private readonly delay: number,
    /** Those of a task and a list fire in order. */
    private readonly list: string,
  ) {
    this.refresh();
  }

  refresh(): this {
    this.close();
    this.#handle = this.clock.setTimeout(this.callback, this.delay, this.list);
    return this;
  }
  close(): this {
    this.clock.clearTimeout(this.#handle);
    return this;
  }
  ref(): this {
    this.#isRef = true;
    return this;
  }
  unref(): this {
    this.#isRef = false;
    return this;
  }
  hasRef(): boolean {
    return this.#isRef;
  }
  /** A number that `clearTimeout` takes, too. */
  [Symbol.toPrimitive](): number {
    this.#id ??= ++lastId;
    let timers = numbered.get(this.clock);
    if (!timers) numbered.set(this.clock, (timers = new Map<number, VirtualTimer>()));
    timers.set(this.#id, this);
    return this.#id;
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

/** The timer that is meant: itself, or its number. */
export function virtualTimer(clock: VirtualClock | undefined, handle: unknown): VirtualTimer | undefined {
  if (handle instanceof VirtualTimer) return handle;
  if (!clock || (typeof handle !== "number" && typeof handle !== "string")) return undefined;
  return numbered.get(clock)?.get(Number(handle));
}

/**
 * Node and browsers wait a millisecond at least.
 * @param list timers of one task and list fire in the order in which they were set. By default: those of one delay
 */
export function startTimer(
  clock: VirtualClock,
  callback: () => void,
  delay: unknown,
  list?: string,
): VirtualTimer {
  const milliseconds = Number(delay);
  const known = milliseconds >= 1 && milliseconds <= MAX_DELAY ? Math.floor(milliseconds) : 1;
  return new VirtualTimer(clock, callback, known, list ?? `${known} ms`);
}

/** As `node:timers/promises` has them: a signal ends the wait. */
export function later(
  owner: TimersOwner,
  delay: unknown,
  value: unknown,
  options: { readonly signal?: AbortSignal } | undefined,
  list?: string,
): Promise<unknown> {
  const signal = options?.signal;
  if (!signal) return new Promise((resolve) => startTimer(owner.clock, () => resolve(value), delay, list));
  return new Promise((resolve, reject) => {
    owner.lookAt(signal);
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    const timer = startTimer(
      owner.clock,
      () => {
        owner.lookAt(signal);
        signal.removeEventListener("abort", onAbort);
        resolve(value);
      },
      delay,
      list,
    );
    const onAbort = (): void => {
      timer.close();
      reject(abortError(signal));
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** `AbortSignal.timeout`, by the virtual clock. */
export function abortAfter(clock: VirtualClock, delay: unknown): AbortSignal {
  const controller = new AbortController();
  startTimer(
    clock,
    () => controller.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError")),
    delay,
  );
  return controller.signal;
}

function abortError(signal: AbortSignal): Error {
  const error = new Error("The operation was aborted", { cause: signal.reason });
  return Object.assign(error, { name: "AbortError", code: "ABORT_ERR" });
}
