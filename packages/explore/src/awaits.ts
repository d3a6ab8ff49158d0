import type { AsyncIdentity } from "./identity.js";
import { holdCallbacks } from "./callbacks.js";
import { isOnlyTold, watchOutside } from "./outside.js";

/** What is seen of awaits of an explored program's promises. `T` is a line of execution. */
export interface AwaitObserver<T> {
  /** Whose continuations are held back. */
  explores(thread: T): boolean;
  /** Somebody could tell now whether the thread has gone on. */
  mayBeMet(thread: T): boolean;
  /** The thread could go on, after an `await`: it does when `go` is called. */
  ready(thread: T, go: () => void): void;
  /** The thread awaits what is no promise, and cannot be held back. */
  escaped(thread: T, place: string): void;
  /** A callback that was held back has thrown. */
  threw(error: unknown): void;
  /** The thread has queued a callback that cannot be held back. */
  unheld(thread: T, place: string): void;
  /** The event under way. */
  at(): number;
  /** It has begun something that ends when the world outside says so: a real timer, a request. */
  outside(thread: T): void;
}

type OnFulfilled = ((value: unknown) => unknown) | null | undefined;
type OnRejected = ((reason: unknown) => unknown) | null | undefined;

interface PromiseHooks {
  onInit(hook: (promise: Promise<unknown>, parent: Promise<unknown> | undefined) => void): () => void;
}

interface ProcessLike {
  getBuiltinModule?(name: "node:v8"): { readonly promiseHooks?: PromiseHooks } | undefined;
}

const { prototype } = Promise;
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with a promise, by Reflect.apply
const nativeThen = prototype.then;
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with its constructor, by Reflect.apply
const nativeResolve = Promise.resolve;

/** What `constructor` says meanwhile: all that Promise has, but not the same, which is what `await` asks. */
class Stand extends Promise<unknown> {
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }
}

/**
 * Holds back what an explored program does after an `await` of any promise, until it is told to go on.
 *
 * `await p` registers with a native promise without calling its `then` — unless the promise's `constructor` is not
 * `Promise`: then it is treated as any thenable, and `then` is called, with callbacks that can be held back
 * (ECMA-262, PromiseResolve and NewPromiseResolveThenableJob). Both are patched while tasks run, and do nothing
 * special for anybody but them: whose await it is, AsyncLocalStorage tells. An `await` of what is no promise calls
 * nothing; V8's hooks tell that there was one.
 */
export class Awaits<T extends object> {
  /** Promises of the explorer's own, and whose they are: what follows is a scheduling point already. */
  readonly #mine = new WeakMap<Promise<unknown>, { readonly thread: T; readonly at: number }>();
  #restore: (() => void) | undefined;
  /** Registers natively just now: the hooks see that too. */
  #native = 0;
  /** Somebody looked at a promise's constructor, and nothing has come of it yet. */
  #looked = false;
  /** The last promise that was made, if an `await` made it to wait for another. */
  #wrapper: Promise<unknown> | undefined;

  constructor(
    private readonly identity: AsyncIdentity<T>,
    private readonly observer: AwaitObserver<T>,
  ) {}

  /** The thread's direct `await` of this promise is no point of its own. */
  mine<P extends Promise<unknown>>(promise: P): P {
    const thread = this.identity.getStore();
    if (thread) this.#mine.set(promise, { thread, at: this.observer.at() });
    return promise;
  }

  /** Only the first await, and only in the piece that made the promise: later, it may have settled long ago. */
  #isMine(promise: Promise<unknown>, thread: T): boolean {
    const mine = this.#mine.get(promise);
    if (!mine) return false;
    this.#mine.delete(promise);
    return mine.thread === thread && mine.at === this.observer.at();
  }

  /** `promise.then`, not held back. */
  then<V>(promise: Promise<V>, fulfilled: (value: V) => void, rejected: (reason: unknown) => void): void {
    void this.#register(promise, fulfilled as OnFulfilled, rejected);
  }

  begin(): void {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- the patched methods have a `this` of their own
    const awaits = this;
    const constructor = Object.getOwnPropertyDescriptor(prototype, "constructor")!;
    const then = Object.getOwnPropertyDescriptor(prototype, "then")!;
    const resolve = Object.getOwnPropertyDescriptor(Promise, "resolve")!;
    const { process } = globalThis as unknown as { process?: ProcessLike };
    const stopHook = process
      ?.getBuiltinModule?.("node:v8")
      ?.promiseHooks?.onInit((promise, parent) => this.#onInit(promise, parent));
    void Object.defineProperty(prototype, "constructor", {
      configurable: true,
      enumerable: false,
      get: () => {
        this.#looked = true;
        return Stand;
      },
      set(this: Promise<unknown>, value: unknown) {
        void Object.defineProperty(this, "constructor", { ...constructor, value });
      },
    });
    void Object.defineProperty(prototype, "then", {
      ...then,
      value: function (this: Promise<unknown>, fulfilled?: OnFulfilled, rejected?: OnRejected) {
        return awaits.#then(this, fulfilled, rejected);
      },
    });
    void Object.defineProperty(Promise, "resolve", {
      ...resolve,
      value: function (this: unknown, value: unknown): unknown {
        const isPlain = this === Promise && value instanceof Promise && value.constructor === Stand;
        awaits.#looked = false;
        return isPlain ? value : Reflect.apply(nativeResolve, this, [value]);
      },
    });
    const putBack = holdCallbacks((run) => this.#held(run));
    const stopWatching = watchOutside(
      () => this.identity.getStore() !== undefined,
      () => this.observer.outside(this.identity.getStore()!),
      () => this.#queued(),
    );
    this.#restore = () => {
      stopWatching?.();
      putBack();
      stopHook?.();
      void Object.defineProperty(prototype, "constructor", constructor);
      void Object.defineProperty(prototype, "then", then);
      void Object.defineProperty(Promise, "resolve", resolve);
    };
  }

  end(): void {
    this.#restore?.();
    this.#restore = undefined;
  }

  #then(promise: Promise<unknown>, fulfilled: OnFulfilled, rejected: OnRejected): Promise<unknown> {
    this.#looked = false;
    const thread = this.identity.getStore();
    if (!thread || !this.observer.explores(thread) || this.#isMine(promise, thread))
      return this.#register(promise, fulfilled, rejected);
    return new Promise((resolve, reject) => {
      const later = (callback: (value: unknown) => unknown) => (value: unknown) =>
        this.observer.ready(thread, () =>
          this.identity.run(thread, () => {
            try {
              resolve(callback(value));
            } catch (error) {
              // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whatever was thrown
              reject(error);
            }
          }),
        );
      void this.#register(
        promise,
        typeof fulfilled === "function" ? later(fulfilled) : resolve,
        typeof rejected === "function" ? later(rejected) : reject,
      );
    });
  }

  /** What `nextTick` or `queueMicrotask` is to call instead: it has its place in the queue, and is a piece of its own. */
  #held(run: () => void): (() => void) | undefined {
    const thread = this.identity.getStore();
    if (!thread || !this.observer.explores(thread) || isOnlyTold()) return undefined;
    const caught = (): void => {
      try {
        run();
      } catch (error) {
        this.observer.threw(error);
      }
    };
    return () => this.observer.ready(thread, () => this.identity.run(thread, caught));
  }

  /** A callback is queued by a copy of `nextTick` or `queueMicrotask` that was taken before the exploration began. */
  #queued(): void {
    const thread = this.identity.getStore();
    if (!thread || !this.observer.explores(thread)) return;
    const place = placeOf(new Error().stack);
    if (place) this.observer.unheld(thread, place);
  }

  #register(promise: Promise<unknown>, fulfilled: OnFulfilled, rejected: OnRejected): Promise<unknown> {
    this.#native++;
    try {
      const next: unknown = Reflect.apply(nativeThen, promise, [fulfilled, rejected]);
      return next as Promise<unknown>;
    } finally {
      this.#native--;
      this.#looked = false;
    }
  }

  /** An `await` makes a promise for what it awaits, unless that has the very constructor, and one that hangs on it. */
  #onInit(promise: Promise<unknown>, parent: Promise<unknown> | undefined): void {
    if (this.#native > 0) return;
    const isWrapper = this.#looked;
    const isAwait = parent !== undefined && parent === this.#wrapper;
    this.#looked = false;
    this.#wrapper = isWrapper ? promise : undefined;
    if (isWrapper || isAwait || !parent) return;
    const thread = this.identity.getStore();
    if (!thread || !this.observer.explores(thread) || !this.observer.mayBeMet(thread)) return;
    const place = placeOf(new Error().stack);
    if (place) this.observer.escaped(thread, place);
  }
}

/** Where the program awaits, as file:line. Undefined: it is not the program, but the platform within. */
export function placeOf(stack = ""): string | undefined {
  for (const line of stack.split("\n").slice(1)) {
    if (
      /[\\/]explore[\\/](?:src|dist)[\\/]|node:async_hooks|node:internal[\\/](?:promise_hooks|async_hooks|process[\\/]task_queues)/.test(
        line,
      )
    )
      continue;
    const [, place] = /[( ]((?:\/|file:|[A-Za-z]:\\)[^()]*:\d+):\d+\)?$/.exec(line) ?? [];
    return place?.replace(/^file:\/\//, "");
  }
  return "a place that the stack does not tell";
}
