import type { Needs } from "./needs.js";

/** Who is told what the running piece does with signals. */
export interface SignalsObserver {
  touch(name: string, writes: boolean): void;
  /** The piece may do what is not seen. */
  touchEverything(): void;
  /** The queue of the lock is to be explored. */
  needQueue(lock: string): void;
  isSettingUp(): boolean;
}

/** Any signal that has no name yet. */
const ANY = "abort*";

/** What is known of the program's signals: who aborts them, and which waits that cancels. */
export class Signals {
  readonly #names = new Map<AbortSignal, string>();
  /** Mutexes for which tasks have waited that a signal can cancel. */
  readonly #cancellable = new Map<AbortSignal, Set<string>>();
  /** Signals that were aborted by whom nobody saw: before anything of them was known. */
  readonly #unobserved = new Set<AbortSignal>();

  constructor(
    private readonly needs: Needs,
    private readonly observer: SignalsObserver,
  ) {}

  /**
   * Sees from now on who calls `abort`.
   * @returns what puts the method back
   */
  observe(): () => void {
    const { prototype } = AbortController;
    const abort = Object.getOwnPropertyDescriptor(prototype, "abort")!;
    const onAbort = (signal: AbortSignal): void => this.#aborts(signal);
    Object.defineProperty(prototype, "abort", {
      ...abort,
      value(this: AbortController, reason?: unknown) {
        onAbort(this.signal);
        (abort.value as (reason?: unknown) => void).call(this, reason);
      },
    });
    return () => void Object.defineProperty(prototype, "abort", abort);
  }

  /** Names a signal, and notes who aborts it. */
  watch(signal: AbortSignal, name = ANY): void {
    if (this.#names.has(signal)) return;
    this.#names.set(signal, name);
    if (!signal.aborted) signal.addEventListener("abort", () => this.#aborted(signal, name), { once: true });
    else {
      this.needs.abort(name);
      if (!this.observer.isSettingUp()) this.#unobserved.add(signal);
    }
  }

  /** The wait can be cancelled: if somebody does so, the queue is to be explored. */
  mayCancel(signal: AbortSignal, lock: string): void {
    this.watch(signal);
    if (this.needs.isAborted(this.#names.get(signal)!)) {
      this.observer.needQueue(lock);
      return;
    }
    const locks = this.#cancellable.get(signal);
    if (locks) locks.add(lock);
    else this.#cancellable.set(signal, new Set([lock]));
  }

  /** The running piece looks whether the signal is aborted. */
  lookAt(signal: AbortSignal): void {
    this.watch(signal);
    this.observer.touch(this.#names.get(signal)!, false);
    if (this.#unobserved.has(signal)) this.observer.touchEverything();
  }

  /** A signal that no wait has looked at yet: one may, in another order. Or one that somebody has aborted before. */
  #aborts(signal: AbortSignal): void {
    const name = this.#names.get(signal);
    if (name === undefined) this.observer.touch(ANY, true);
    else if (signal.aborted) this.observer.touch(name, false);
  }

  #aborted(signal: AbortSignal, name: string): void {
    this.observer.touch(name, true);
    this.observer.touch(ANY, true); // others may follow it (AbortSignal.any)
    this.needs.abort(name);
    for (const lock of this.#cancellable.get(signal) ?? []) this.observer.needQueue(lock);
  }
}
