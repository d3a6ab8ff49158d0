import type { AwaitsAre, PlainFields } from "./assumptions.js";
import { messageOf, NotDeterministic } from "./errors.js";
import { Execution, type Picker } from "./execution.js";
import { exploration, type Body, type Checks } from "./exploration.js";
import type { Needs } from "./needs.js";
import { nextTurn } from "./turn.js";
import { onUncaughtException, onUnhandledRejection } from "./unhandled.js";
import { Validation } from "./validation.js";
import { inhabit, makeVirtual } from "./virtual-world.js";

export interface RunnerOptions {
  readonly maxEvents?: number | undefined;
  readonly maxDepth?: number | undefined;
  readonly keepGoing?: boolean | undefined;
  readonly lockdep?: boolean | undefined;
  readonly plainFields?: PlainFields | undefined;
  readonly awaits?: AwaitsAre | undefined;
}

/** Ends when the exploration that is under way does, and those that wait for it. */
let last: Promise<void> = Promise.resolve();

/** Runs a program again and again. The scheduler, the validator and the process's hooks are its own meanwhile. */
export class Runner implements Disposable {
  readonly #validation: Validation;
  readonly #stopListening: readonly (() => void)[];
  readonly #restore = makeVirtual();
  #execution: Execution | undefined;

  /**
   * There is one at a time in a process: others wait for their turn.
   * @returns undefined if the signal was aborted before
   */
  static async inTurn(
    body: Body,
    options: RunnerOptions,
    signal: AbortSignal | undefined,
  ): Promise<Runner | undefined> {
    const before = last;
    const { promise, resolve } = withResolvers();
    last = before.then(() => promise);
    const aborted = withResolvers();
    const onAbort = (): void => aborted.resolve();
    signal?.addEventListener("abort", onAbort, { once: true });
    if (!signal?.aborted) await Promise.race([before, aborted.promise]);
    signal?.removeEventListener("abort", onAbort);
    if (!signal?.aborted) return new Runner(body, options, resolve);
    resolve();
    return undefined;
  }

  private constructor(
    private readonly body: Body,
    private readonly options: RunnerOptions,
    private readonly leave: () => void,
  ) {
    this.#validation = new Validation(options.lockdep ?? true);
    this.#stopListening = [
      onUnhandledRejection(
        (reason, promise) => void this.#execution?.findings.rejected.set(promise, reason),
        (promise) => void this.#execution?.findings.rejected.delete(promise),
      ),
      onUncaughtException((error) => this.#execution?.findings.fail("uncaught-exception", messageOf(error))),
    ];
  }

  /** @throws NotDeterministic */
  async run(pick: Picker, needs: Needs): Promise<Execution> {
    const execution = new Execution(
      needs,
      this.options.plainFields ?? "conflict",
      this.options.awaits ?? "points",
    );
    const { findings } = execution;
    const checks: Checks = { invariants: [], finals: [] };
    this.#execution = execution;
    this.#validation.begin(execution);
    inhabit(execution.inhabitant);
    try {
      if (!(await execution.setUp(() => this.body(exploration(execution, checks))))) return execution;
      await execution.run(pick, {
        maxEvents: this.options.maxEvents ?? DEFAULT_MAX_EVENTS,
        maxDepth: this.options.maxDepth ?? Infinity,
        keepGoing: this.options.keepGoing ?? false,
        afterEvent:
          checks.invariants.length === 0
            ? undefined
            : () => {
                for (const check of checks.invariants) check();
              },
      });
      execution.isOver = true;
      if (findings.failures.length === 0 && !execution.abandoned && !findings.again && !findings.gaveUp)
        for (const check of checks.finals) await execution.check(check);
      if (checks.finals.length > 0 || findings.rejected.size > 0) await nextTurn(); // what they have queued may throw
      findings.judgeRejections();
    } catch (error) {
      if (error instanceof NotDeterministic) throw error;
      findings.fail("assertion", messageOf(error));
    } finally {
      inhabit(undefined);
    }
    return execution;
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stopListening) stop();
    this.#restore();
    this.#validation.end();
    this.leave();
  }
}

function withResolvers(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}

const DEFAULT_MAX_EVENTS = 2000;
