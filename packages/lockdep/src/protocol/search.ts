import type { Schedule } from "../problem.js";
import { stepText, takes, type Scenario, type Step } from "./program.js";

/** A copy of a task of the scenario, or a task made up for the search: a writer that comes in between. */
export interface Runner {
  readonly name: string;
  readonly steps: readonly Step[];
}

export type SearchResult = Schedule | "none" | "too many states";

const MAX_STATES = 200_000;
const RUNNING = 0;
const QUEUED = 1;
const BACKED_OUT = 2;

/** Where everybody is: a step and a phase each, and the order in which they queue. */
interface State {
  readonly at: readonly number[];
  readonly phase: readonly number[];
  readonly queue: readonly number[];
  readonly before: State | undefined;
  readonly lastTask: number;
  /** Others that got their lock by this move. */
  readonly woken: readonly number[];
}

/**
 * Runs the tasks under every interleaving, with the locks' real rules (fair, first come first served), and returns
 * the shortest schedule after which somebody waits for ever; "none" if every interleaving was tried.
 *
 * It has a model of the locks and not the locks themselves (`runStep`): going through 200,000 states breadth first means
 * to put any of them back, which real locks, with their queues of promises, do not offer.
 */
export function searchHang(runners: readonly Runner[], locks: Scenario["locks"]): SearchResult {
  const machine = new Machine(runners, locks);
  const start: State = {
    at: runners.map(() => 0),
    phase: runners.map(() => RUNNING),
    queue: [],
    before: undefined,
    lastTask: -1,
    woken: [],
  };
  const seen = new Set([machine.key(start)]);
  const states = [start];
  for (const state of states) {
    let moved = false;
    for (const task of machine.runnable(state)) {
      const next = machine.move(state, task);
      if (!next) continue;
      moved = true;
      const id = machine.key(next);
      if (seen.has(id)) continue;
      if (seen.size >= MAX_STATES) return "too many states";
      seen.add(id);
      states.push(next);
    }
    if (!moved && state.queue.length > 0) return machine.schedule(state);
  }
  return "none";
}

type Held = readonly { readonly lock: string; readonly mode: "exclusive" | "read" | "read_recursive" }[];

class Machine {
  /** What a task holds before each of its steps: it depends on nothing else. */
  readonly #held: Held[][];
  readonly #tasks: readonly number[];

  constructor(
    private readonly runners: readonly Runner[],
    private readonly locks: Scenario["locks"],
  ) {
    this.#tasks = runners.map((_, task) => task);
    this.#held = runners.map(({ steps }) => {
      let held: Held = [];
      const before = [held];
      for (const step of steps) {
        const mode = takes(step, locks);
        const last = held.findLastIndex((hold) => hold.lock === step.lock);
        if (mode) held = [...held, { lock: step.lock, mode }];
        else if (step.op === "unlock") held = held.filter((_, i) => i !== last);
        else if (step.op === "downgrade") held = held.with(last, { lock: step.lock, mode: "read" });
        before.push(held);
      }
      return before;
    });
  }

  /**
   * Who may move. A task that lets go of a lock can do so at once, before everybody else: nobody waits for ever
   * because of it, so no other order of the same moves hangs unless this one does.
   */
  runnable(state: State): readonly number[] {
    const releasing = this.#tasks.find((task) => {
      const step = this.runners[task]!.steps[state.at[task]!];
      return step && state.phase[task] === RUNNING && !takes(step, this.locks);
    });
    return releasing === undefined ? this.#tasks : [releasing];
  }

  /** Equal for states that go on in the same way: the order of a queue counts for each lock by itself. */
  key(state: State): string {
    const queues = state.queue.toSorted((a, b) =>
      this.#wants(state, a).lock < this.#wants(state, b).lock
        ? -1
        : Number(this.#wants(state, a).lock > this.#wants(state, b).lock),
    );
    return `${state.at.join()};${state.phase.join()};${queues.join()}`;
  }

  /** The state after `task` has done its next step; undefined if it cannot. */
  move(state: State, task: number): State | undefined {
    const step = this.runners[task]!.steps[state.at[task]!];
    if (!step || state.phase[task] !== RUNNING) return undefined;
    if (takes(step, this.locks) && !this.#isFree(state, step, state.queue)) {
      const backsOut = step.op === "trylock";
      const next = {
        ...state,
        phase: state.phase.with(task, backsOut ? BACKED_OUT : QUEUED),
        queue: backsOut ? state.queue : [...state.queue, task],
        before: state,
        lastTask: task,
        woken: [],
      };
      return backsOut ? this.#wake(next) : next;
    }
    return this.#wake({
      ...state,
      at: state.at.with(task, state.at[task]! + 1),
      before: state,
      lastTask: task,
      woken: [],
    });
  }

  #holds(state: State, task: number, lock: string): Held {
    if (state.phase[task] === BACKED_OUT) return [];
    return this.#held[task]![state.at[task]!]!.filter((hold) => hold.lock === lock);
  }

  #holders(state: State, lock: string): number[] {
    return this.runners.flatMap((_, task) => (this.#holds(state, task, lock).length > 0 ? [task] : []));
  }

  #writesIn(state: State, task: number, lock: string): boolean {
    return this.#holds(state, task, lock).some((hold) => hold.mode === "exclusive");
  }

  /** May `step` have its lock now, with `ahead` in the queue before it? */
  #isFree(state: State, step: Step, ahead: readonly number[]): boolean {
    const mode = takes(step, this.locks)!;
    const holders = this.#holders(state, step.lock);
    if (mode === "exclusive" && holders.length > 0) return false;
    if (holders.some((task) => this.#writesIn(state, task, step.lock))) return false;
    if (mode === "read_recursive") return true;
    return !ahead.some((task) => this.#wants(state, task).lock === step.lock);
  }

  #wants(state: State, task: number): Step {
    return this.runners[task]!.steps[state.at[task]!]!;
  }

  /** Hands locks that became free to those who queue for them, in their order. */
  #wake(state: State): State {
    for (let i = 0; i < state.queue.length; i++) {
      const task = state.queue[i]!;
      if (!this.#isFree(state, this.#wants(state, task), state.queue.slice(0, i))) continue;
      return this.#wake({
        ...state,
        at: state.at.with(task, state.at[task]! + 1),
        phase: state.phase.with(task, RUNNING),
        queue: state.queue.filter((other) => other !== task),
        woken: [...state.woken, task],
      });
    }
    return state;
  }

  schedule(end: State): Schedule {
    const states: State[] = [];
    for (let at: State | undefined = end; at.before; at = at.before) states.unshift(at);
    const moves: Schedule["moves"][number][] = [];
    for (const state of states) {
      const task = state.lastTask;
      const step = this.#wants(state.before!, task);
      const queued = state.phase[task] === QUEUED && state.before!.phase[task] === RUNNING;
      const backedOut = state.phase[task] === BACKED_OUT;
      const forEver = queued && end.queue.includes(task) && end.at[task] === state.at[task];
      moves.push({
        task,
        text: stepText(step) + (backedOut ? " fails, backs out" : queued && !forEver ? " waits" : ""),
        ...(forEver ? { waitsFor: this.#blocker(end, task) } : {}),
      });
      for (const woken of state.woken)
        moves.push({ task: woken, text: `has ${this.#wants(state.before!, woken).lock}` });
    }
    return { tasks: this.runners.map((runner) => runner.name), moves };
  }

  #blocker(state: State, task: number): number {
    const { lock } = this.#wants(state, task);
    const ahead = state.queue.slice(0, state.queue.indexOf(task));
    const behind = ahead.filter((other) => this.#wants(state, other).lock === lock);
    const reads = takes(this.#wants(state, task), this.locks) !== "exclusive";
    const holders = this.#holders(state, lock);
    const exclusive = holders.filter((other) => this.#writesIn(state, other, lock));
    // A reader among readers waits for the writer ahead of it.
    if (reads && exclusive.length === 0 && behind.length > 0) return behind[0]!;
    return holders.find((other) => other !== task) ?? holders[0] ?? behind[0] ?? task;
  }
}
