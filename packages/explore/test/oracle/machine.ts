import {
  abort,
  act,
  attempt,
  downgrade,
  fail,
  made,
  mutexOf,
  queueOf,
  release,
  type Waiting,
} from "./objects.js";
import { BROKEN, nameOf, type Instr, type Program, type Take } from "./program.js";
import {
  endState,
  failed,
  initialState,
  isTrue,
  namesOf,
  without,
  type State,
  type TaskState,
} from "./state.js";

/** The meaning of programs: who can go on in a state, and what a piece does. */
export class Machine {
  readonly #code = new Map<string, readonly Instr[]>();
  readonly #acts = new Map<string, Instr>();

  constructor(private readonly program: Program) {
    for (const [i, { code }] of program.tasks.entries()) {
      this.#code.set(nameOf(i), code);
      for (const instr of code) if (instr.do === "timer") this.#acts.set(instr.timer, instr.act);
    }
  }

  first(): string {
    return JSON.stringify(initialState(this.program));
  }

  /** The states that can follow; none: it is an end. */
  next(text: string, ends: Set<string>, failures: Set<string>): string[] {
    const state = JSON.parse(text) as State;
    const actors = this.#enabled(state);
    if (actors.length === 0) this.#end(state, ends, failures);
    return actors.map((actor, i) => {
      const next = i === 0 ? state : (JSON.parse(text) as State);
      this.#run(next, actor);
      if (this.program.never?.every((fact) => isTrue(next, fact))) failed(next, BROKEN);
      return JSON.stringify(next);
    });
  }

  /** Tasks that can go on, timers that can fire, and time limits of waits, each as "!" and the task. */
  #enabled(s: State): string[] {
    const sleepers = Object.entries(s.tasks).filter(([name]) => this.#point(s, name)?.do === "sleep");
    const clocks = [
      ...Object.entries(s.timers),
      ...sleepers.map(([name, { due }]) => [name, due] as const),
      ...s.waiting.flatMap(({ task, due }) => (due === undefined ? [] : [[`!${task}`, due] as const])),
    ];
    const first = Math.min(...clocks.map(([, due]) => due));
    const tasks = Object.entries(s.tasks).filter(([name, { at }]) => {
      const point = this.#point(s, name);
      if (point?.do === "join") return s.tasks[point.task]!.at === "ended";
      if (point?.do === "await") return s.resolved.includes(point.promise);
      return at === "begins" || at === "resumes" || (point !== undefined && point.do !== "sleep");
    });
    return [...tasks, ...clocks.filter(([, due]) => due === first)].map(([name]) => name);
  }

  /** The instruction where a task is parked: its going on begins with it. */
  #point(s: State, name: string): Instr | undefined {
    const { at, pc } = s.tasks[name]!;
    return at === "parked" ? this.#code.get(name)![pc]! : undefined;
  }

  /** Nobody can go on. */
  #end(s: State, ends: Set<string>, failures: Set<string>): void {
    const stuck = Object.entries(s.tasks).filter(([, { at }]) => at !== "ended" && at !== "unborn");
    const waits = stuck.map(([name]) => {
      const point = this.#point(s, name);
      const what = s.waiting.find(({ task }) => task === name)?.lock;
      return `${name} waits for ${what ?? (point?.do === "join" ? point.task : "something")}`;
    });
    if (waits.length > 0) s.failures.push(`stuck: ${waits.join("; ")}`);
    for (const failure of s.failures) failures.add(failure);
    if (s.failures.length === 0) ends.add(endState(s));
  }

  /** One piece: from a point up to the next. */
  #run(s: State, name: string): void {
    const late = s.waiting.find(({ task }) => `!${task}` === name);
    if (late) {
      s.now = late.due!;
      fail(s, late, `${late.task} has waited ${late.limit} ms for ${late.lock}`);
      return;
    }
    const task = s.tasks[name];
    if (!task) {
      s.now = s.timers[name]!;
      s.timers = without(s.timers, name);
      this.#do(s, "T", undefined, this.#acts.get(name)!);
      return;
    }
    let atPoint = task.at === "parked";
    const resumes = task.at === "resumes";
    task.at = "running";
    if (resumes) this.#waited(s, name, task);
    // It may change under way, which the compiler does not see.
    for (const running = (): boolean => (task.at as string) === "running"; running(); atPoint = false) {
      const instr = this.#code.get(name)![task.pc];
      if (!instr) task.at = "ended";
      else if (atPoint || !isPoint(s, name, instr)) this.#do(s, name, task, instr);
      else {
        task.at = "parked";
        if (instr.do === "sleep") task.due = s.now + instr.ms;
      }
    }
  }

  #do(s: State, name: string, task: TaskState | undefined, instr: Instr): void {
    if (task) task.pc++;
    const key = "cell" in instr ? instr.cell : "field" in instr ? instr.field : "";
    switch (instr.do) {
      case "get":
      case "see":
        task!.seen = s.cells[key] ?? "";
        task!.log.push(`${key}=${task!.seen}`);
        return;
      case "set":
      case "put":
        s.cells[key] = task!.seen + name;
        return;
      case "append":
        s.cells[key] = (s.cells[key] ?? "") + name;
        return;
      case "fail":
        if (task!.seen.includes(instr.when)) this.#raise(s, name, `saw ${instr.when}`);
        return;
      case "return":
        if (task!.error) this.#raise(s, name, task!.error);
        return;
      case "made":
        made(s, instr.lock, task!.error);
        task!.at = "resumes";
        task!.pc--; // `once.get` is awaited from here on
        return;
      case "resolve":
        s.resolved = [...new Set([...s.resolved, instr.promise])].toSorted();
        return;
      case "abort":
        if (s.tasks[instr.task]!.at !== "unborn") abort(s, instr.task);
        return;
      case "cancel": {
        abort(s, instr.signal);
        return;
      }
      case "start":
        if (s.tasks[instr.task]!.at === "unborn") s.tasks[instr.task]!.at = "begins";
        return;
      case "timer":
        s.timers = Object.fromEntries(
          Object.entries({ ...s.timers, [instr.timer]: s.now + instr.ms }).toSorted(),
        );
        return;
      case "stop":
        s.timers = without(s.timers, instr.timer);
        return;
      case "sleep":
        s.now = task!.due;
        return;
      case "now":
        task!.log.push(`@${s.now}`);
        return;
      case "take":
        if (inVain(s, name, instr)) task!.pc += instr.skip;
        else this.#arrive(s, name, task!, instr);
        return;
      case "try": {
        this.#guarded(s, name, () => {
          const done = attempt(s, waitingOf(name, instr, task!.seen)) && task!.got !== "nothing";
          if (done && task!.got) task!.log.push(task!.got);
          if (!done) task!.log.push("busy");
          if (!done) task!.pc += instr.skip;
          task!.got = "";
        });
        return;
      }
      case "release": {
        release(s, name, instr.lock, instr.mode, instr.permits);
        return;
      }
      case "downgrade": {
        downgrade(s, name, instr.lock);
        return;
      }
      case "post":
      case "countDown":
      case "notify":
      case "notifyAll":
      case "close": {
        this.#guarded(s, name, () => act(s, instr.do, instr.lock, instr.permits));
        return;
      }
      case "look": {
        const { owner, readers, count, buffer, closed } = s.locks[instr.lock]!;
        const { length } = queueOf(s, instr.lock);
        const state = instr.lock.startsWith("b") ? length : `${count + buffer.length}${closed ? "!" : ""}`;
        if (instr.at === "state") task!.log.push(`:${state}`);
        else task!.log.push(instr.at === "waiters" ? `#${length}` : `?${namesOf(owner, readers)}`);
      }
    }
  }

  /** What may throw. */
  #guarded(s: State, name: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      if (name !== "T") this.#raise(s, name, (error as Error).message);
    }
  }

  #arrive(s: State, name: string, task: TaskState, instr: Take): void {
    const { lock, mode, signal, limit } = instr;
    const state = s.locks[lock]!;
    task.pc--;
    if (mode === "once" && !state.owner && !state.closed) {
      state.owner = name; // and goes on with what the once runs
      task.pc++;
      return;
    }
    const wait: Waiting = {
      ...waitingOf(name, instr, task.seen),
      ...(limit !== undefined && { due: s.now + limit }),
    };
    wait.signals = [name, ...(signal === undefined ? [] : [signal])];
    const sources = wait.signals.map((each) => each.replace("any ", ""));
    const aborted = sources.find((each) => s.aborted.includes(each));
    const thrown = (error: string): void => {
      task.error = error;
      this.#waited(s, name, task); // at once
    };
    try {
      if (mode === "once" ? state.closed : !lock.startsWith("v") && attempt(s, wait)) {
        task.at = "resumes";
        return;
      }
    } catch (error) {
      thrown((error as Error).message);
      return;
    }
    const held = state.readers.filter((each) => each === name).length;
    if (mode === "read" && held > 0) {
      thrown(`${name} takes ${lock} for reading, which it holds already`);
      return;
    }
    if (mode === "permit" && held > 0 && wait.permits > state.count + state.readers.length - held) {
      thrown(
        `${name} wants ${wait.permits} of ${lock}, of whose ${state.count + state.readers.length} it holds ${held} already`,
      );
      return;
    }
    if (aborted === undefined) {
      task.at = "queued";
      s.waiting.push(wait);
      if (lock.startsWith("v")) release(s, name, mutexOf(lock), "write");
    } else Object.assign(task, { at: "resumes", error: `abort ${aborted}` });
  }

  /** What a task does when its wait has ended. */
  #waited(s: State, name: string, task: TaskState): void {
    const instr = this.#code.get(name)![task.pc++] as Take | Extract<Instr, { do: "made" }>;
    const { error, got } = task;
    Object.assign(task, { error: "", got: "" });
    if (got) task.log.push(got);
    if (instr.do === "take" && (error || instr.mode === "once")) task.pc += instr.skip;
    if (error && instr.caught) task.log.push("caught");
    else if (error) this.#raise(s, name, error);
  }

  /** An exception, thrown by the instruction before `pc`. It goes through each call that it is in, and ends the task. */
  #raise(s: State, name: string, message: string): void {
    const task = s.tasks[name]!;
    const code = this.#code.get(name)!;
    for (let depth = 0; task.pc < code.length; task.pc++) {
      const instr = code[task.pc]!;
      if (instr.do === "call" || (instr.do === "take" && instr.mode === "once")) depth++;
      if ((instr.do !== "return" && instr.do !== "made") || depth-- > 0) continue;
      task.error = message;
      task.at = "parked";
      return;
    }
    task.at = "ended";
    if (message !== `abort ${name}`) failed(s, `${name}: ${message}`);
  }
}

const POINTS = ["step", "preempt", "gap", "return", "made", "await", "sleep", "get", "set", "take", "join"];

function isPoint(s: State, name: string, instr: Instr): boolean {
  if (instr.do === "take") return !inVain(s, name, instr) && !instr.lock.startsWith("v");
  if (instr.do === "join") return instr.task !== name && s.tasks[instr.task]!.at !== "unborn";
  return POINTS.includes(instr.do);
}

/** It would wait for itself, or has no mutex to wait with. */
function inVain(s: State, name: string, { lock, mode }: Take): boolean {
  if (lock.startsWith("v")) return s.locks[mutexOf(lock)]!.owner !== name;
  const { owner, readers } = s.locks[lock]!;
  return owner === name || (mode === "write" && readers.includes(name));
}

type Use = Pick<Take, "lock" | "mode" | "permits" | "limit">;

const waitingOf = (task: string, { lock, mode, permits = 1, limit = 0 }: Use, seen: string): Waiting => ({
  ...{ task, lock, mode, permits, limit, value: seen + task, signals: [] },
});
