import { messageOf, NotDeterministic } from "./errors.js";
import { Execution, type Picker } from "./execution.js";
import { exploration, type Body, type Checks } from "./exploration.js";
import type { Needs } from "./needs.js";
import { onUnhandledRejection } from "./unhandled.js";
import { Validation } from "./validation.js";

export interface RunnerOptions {
  readonly maxEvents?: number | undefined;
  readonly maxDepth?: number | undefined;
  readonly keepGoing?: boolean | undefined;
  readonly lockdep?: boolean | undefined;
}

let inUse = false;

/** Runs a program again and again. The scheduler, the validator and the process's hooks are its own meanwhile. */
export class Runner implements Disposable {
  readonly #validation: Validation;
  readonly #stopListening: () => void;
  #execution: Execution | undefined;

  constructor(
    private readonly body: Body,
    private readonly options: RunnerOptions,
  ) {
    if (inUse) throw new Error("an exploration is under way: there can be one at a time");
    inUse = true;
    this.#validation = new Validation(options.lockdep ?? true);
    this.#stopListening = onUnhandledRejection((reason) =>
      this.#execution?.fail("unhandled-rejection", messageOf(reason)),
    );
  }

  /** @throws NotDeterministic */
  async run(pick: Picker, needs: Needs): Promise<Execution> {
    const execution = new Execution(needs);
    const checks: Checks = { invariants: [], finals: [] };
    this.#execution = execution;
    this.#validation.begin(execution);
    try {
      await this.body(exploration(execution, checks));
      execution.endSetUp();
      await execution.run(pick, {
        maxEvents: this.options.maxEvents ?? DEFAULT_MAX_EVENTS,
        maxDepth: this.options.maxDepth ?? Infinity,
        keepGoing: this.options.keepGoing ?? false,
        afterEvent: () => {
          for (const check of checks.invariants) check();
        },
      });
      if (execution.failures.length === 0 && !execution.abandoned && !execution.again)
        for (const check of checks.finals) await check();
    } catch (error) {
      if (error instanceof NotDeterministic) throw error;
      execution.fail("assertion", messageOf(error));
    }
    return execution;
  }

  [Symbol.dispose](): void {
    inUse = false;
    this.#stopListening();
    this.#validation.end();
  }
}

const DEFAULT_MAX_EVENTS = 2000;
