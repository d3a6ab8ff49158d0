import { nameOf, type Instr, type Mode, type Program, type Take } from "./program.js";

/** What can come of a program. */
export interface Outcomes {
  /** End states of executions without a failure. */
  readonly ends: ReadonlySet<string>;
  readonly failures: ReadonlySet<string>;
}

interface TaskState {
  at: "unborn" | "begins" | "parked" | "queued" | "resumes" | "running" | "ended";
  pc: number;
  /** What it saw last, and all that it noted. */
  seen: string;
  log: string[];
  /** Of a wait that has ended without what it was for, or of an exception on its way through calls. */
  error: string;
  /** Of a sleep. */
  due: number;
}

interface LockState {
  owner: string;
  /** Those who hold it for reading, once for each hold. */
  readers: string[];
}

interface Waiting {
  task: string;
  lock: string;
  mode: Mode;
  signals: string[];
}

/** All there is. It is plain data, so that its text is its identity. */
interface State {
  tasks: Record<string, TaskState>;
  locks: Record<string, LockState>;
  /** Of all locks, first come first. */
  waiting: Waiting[];
  cells: Record<string, string>;
  resolved: string[];
  aborted: string[];
  /** Timers that are set: when they are due. */
  timers: Record<string, number>;
  now: number;
  failures: string[];
}

/** Every interleaving of a program's pieces, one after the other; a state that was met before is not entered again. */
export function enumerate(program: Program, maxStates = 1e6): Outcomes | undefined {
  const machine = new Machine(program);
  const [ends, failures] = [new Set<string>(), new Set<string>()];
  const first = JSON.stringify(machine.first());
  const [known, open] = [new Set([first]), [first]];
  for (let text = open.pop(); text !== undefined; text = open.pop()) {
    const actors = machine.enabled(JSON.parse(text) as State);
    if (actors.length === 0) machine.end(JSON.parse(text) as State, ends, failures);
    for (const actor of actors) {
      const state = JSON.parse(text) as State;
      machine.run(state, actor);
      const next = JSON.stringify(state);
      if (known.has(next)) continue;
      if (known.size >= maxStates) return undefined;
      known.add(next);
      open.push(next);
    }
  }
  return { ends, failures };
}

/** The same, schedule by schedule, with no memory of states. */
export function enumerateSchedules(program: Program, maxSchedules = 1e6): Outcomes | undefined {
  const machine = new Machine(program);
  const [ends, failures] = [new Set<string>(), new Set<string>()];
  let schedules = 0;
  const goOn = (text: string): void => {
    const actors = machine.enabled(JSON.parse(text) as State);
    if (actors.length === 0) {
      schedules++;
      machine.end(JSON.parse(text) as State, ends, failures);
    }
    for (const actor of actors) {
      if (schedules >= maxSchedules) return;
      const state = JSON.parse(text) as State;
      machine.run(state, actor);
      goOn(JSON.stringify(state));
    }
  };
  goOn(JSON.stringify(machine.first()));
  return schedules < maxSchedules ? { ends, failures } : undefined;
}

/** The meaning of programs: who can go on in a state, and what a piece does. */
class Machine {
  readonly #code = new Map<string, readonly Instr[]>();
  readonly #acts = new Map<string, Instr>();

  constructor(private readonly program: Program) {
    for (const [i, { code }] of program.tasks.entries()) {
      this.#code.set(nameOf(i), code);
      for (const instr of code) if (instr.do === "timer") this.#acts.set(instr.timer, instr.act);
    }
  }

  first(): State {
    const tasks = this.program.tasks.map(({ late }, i): [string, TaskState] => [
      nameOf(i),
      { at: late ? "unborn" : "begins", pc: 0, seen: "", log: [], error: "", due: 0 },
    ]);
    const locks = new Set(
      [...this.#code.values()].flat().flatMap((each) => ("lock" in each ? [each.lock] : [])),
    );
    return {
      tasks: Object.fromEntries(tasks),
      locks: Object.fromEntries([...locks].map((lock) => [lock, { owner: "", readers: [] }])),
      ...{ waiting: [], cells: {}, resolved: [], aborted: [], timers: {}, now: 0, failures: [] },
    };
  }

  /** Tasks that can go on, and timers that can fire. */
  enabled(s: State): string[] {
    const sleepers = Object.entries(s.tasks).filter(([name]) => this.#point(s, name)?.do === "sleep");
    const first = Math.min(...Object.values(s.timers), ...sleepers.map(([, { due }]) => due));
    const tasks = Object.entries(s.tasks).filter(([name, task]) => {
      if (task.at === "begins" || task.at === "resumes") return true;
      const point = this.#point(s, name);
      if (point?.do === "join") return s.tasks[point.task]!.at === "ended";
      if (point?.do === "await") return s.resolved.includes(point.promise);
      return point?.do === "sleep" ? task.due === first : point !== undefined;
    });
    const timers = Object.entries(s.timers).filter(([, due]) => due === first);
    return [...tasks, ...timers].map(([name]) => name);
  }

  /** The instruction where a task is parked: its going on begins with it. */
  #point(s: State, name: string): Instr | undefined {
    const { at, pc } = s.tasks[name]!;
    return at === "parked" ? this.#code.get(name)![pc]! : undefined;
  }

  /** Nobody can go on. */
  end(s: State, ends: Set<string>, failures: Set<string>): void {
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
  run(s: State, name: string): void {
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
    const note = (text: string): void => {
      task!.log.push(text);
    };
    const see = (key: string): void => note(`${key}=${(task!.seen = s.cells[key] ?? "")}`);
    switch (instr.do) {
      case "get": {
        see(instr.cell);
        return;
      }
      case "set":
        return void (s.cells[instr.cell] = task!.seen + name);
      case "see": {
        see("cell" in instr ? instr.cell : instr.field);
        return;
      }
      case "append": {
        const key = "cell" in instr ? instr.cell : instr.field;
        return void (s.cells[key] = (s.cells[key] ?? "") + name);
      }
      case "put":
        return void (s.cells[instr.field] = task!.seen + name);
      case "fail": {
        if (task!.seen.includes(instr.when)) this.#raise(s, name, `saw ${instr.when}`);
        return;
      }
      case "return": {
        if (task!.error) this.#raise(s, name, task!.error);
        return;
      }
      case "resolve":
        s.resolved = [...new Set([...s.resolved, instr.promise])].toSorted();
        return;
      case "abort": {
        if (s.tasks[instr.task]!.at !== "unborn") abort(s, instr.task);
        return;
      }
      case "cancel": {
        abort(s, instr.signal);
        return;
      }
      case "start": {
        const other = s.tasks[instr.task]!;
        if (other.at === "unborn") other.at = "begins";
        return;
      }
      case "timer":
        return void (s.timers[instr.timer] = s.now + instr.ms);
      case "stop":
        s.timers = without(s.timers, instr.timer);
        return;
      case "sleep":
        return void (s.now = task!.due);
      case "now": {
        note(`@${s.now}`);
        return;
      }
      case "take": {
        if (waitsForItself(s, name, instr)) task!.pc += instr.skip;
        else this.#arrive(s, name, instr);
        return;
      }
      case "try":
        if (isFree(s, instr.lock, instr.mode)) take(s, name, instr.lock, instr.mode);
        else {
          note("busy");
          task!.pc += instr.skip;
        }
        return;
      case "release": {
        release(s, name, instr.lock, instr.mode);
        return;
      }
      case "downgrade":
        if (lockOf(s, instr.lock).owner === name) downgrade(s, name, instr.lock);
        return;
      case "look": {
        const { owner, readers } = lockOf(s, instr.lock);
        const { length } = queueOf(s, instr.lock);
        note(instr.at === "waiters" ? `#${length}` : `?${[owner, ...readers.toSorted()].join("")}`);
        return;
      }
    }
  }

  #arrive(s: State, name: string, { lock, mode, signal }: Take): void {
    const task = s.tasks[name]!;
    task.pc--;
    const signals = [name, ...(signal === undefined ? [] : [signal])];
    const aborted = signals.find((each) => s.aborted.includes(each));
    if (isFree(s, lock, mode)) take(s, name, lock, mode);
    else if (lockOf(s, lock).readers.includes(name)) {
      task.error = `${name} takes ${lock} for reading, which it holds already`;
      this.#waited(s, name, task);
      return; // thrown at once
    } else if (aborted !== undefined) task.error = `abort ${aborted}`;
    else {
      s.waiting.push({ task: name, lock, mode, signals });
      task.at = "queued";
      return;
    }
    task.at = "resumes";
  }

  /** What a task does when its wait has ended. */
  #waited(s: State, name: string, task: TaskState): void {
    const { skip, caught } = this.#code.get(name)![task.pc++] as Take;
    if (!task.error) return;
    if (!caught) {
      this.#raise(s, name, task.error);
      return;
    }
    task.error = "";
    task.log.push("caught");
    task.pc += skip;
  }

  /** An exception, thrown by the instruction before `pc`. It goes through each call that it is in, and ends the task. */
  #raise(s: State, name: string, message: string): void {
    const task = s.tasks[name]!;
    const code = this.#code.get(name)!;
    for (let depth = 0; task.pc < code.length; task.pc++) {
      const what = code[task.pc]!.do;
      if (what === "call") depth++;
      if (what !== "return" || depth-- > 0) continue;
      task.error = message;
      task.at = "parked";
      return;
    }
    task.at = "ended";
    if (message !== `abort ${name}`) s.failures = [...s.failures, `${name}: ${message}`].toSorted();
  }
}

const POINTS = ["step", "preempt", "gap", "return", "await", "sleep", "get", "set", "take", "join"];

function isPoint(s: State, name: string, instr: Instr): boolean {
  if (instr.do === "take") return !waitsForItself(s, name, instr);
  if (instr.do === "join") return instr.task !== name && s.tasks[instr.task]!.at !== "unborn";
  return POINTS.includes(instr.do);
}

const without = <T>(all: Record<string, T>, name: string): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([key]) => key !== name));
const lockOf = (s: State, lock: string): LockState => s.locks[lock]!;
const queueOf = (s: State, lock: string): Waiting[] => s.waiting.filter((each) => each.lock === lock);

function waitsForItself(s: State, name: string, { lock, mode }: Take): boolean {
  const { owner, readers } = lockOf(s, lock);
  return owner === name || (mode === "write" && readers.includes(name));
}

function isFree(s: State, lock: string, mode: Mode): boolean {
  const { owner, readers } = lockOf(s, lock);
  if (owner) return false;
  if (mode === "recursive" || mode === "exclusive") return true;
  return queueOf(s, lock).length === 0 && (mode === "read" || readers.length === 0);
}

function take(s: State, name: string, lock: string, mode: Mode): void {
  const state = lockOf(s, lock);
  if (mode === "exclusive" || mode === "write") state.owner = name;
  else state.readers = [...state.readers, name].toSorted();
}

function release(s: State, name: string, lock: string, mode: Mode): void {
  const state = lockOf(s, lock);
  if (mode === "exclusive" || mode === "write") {
    if (state.owner !== name) return;
    state.owner = "";
  } else {
    const at = state.readers.indexOf(name);
    if (at < 0) return;
    state.readers.splice(at, 1);
  }
  handOn(s, lock);
}

function downgrade(s: State, name: string, lock: string): void {
  lockOf(s, lock).owner = "";
  take(s, name, lock, "read");
  handOn(s, lock);
}

/** Gives the lock to those who may have it, first come first; recursive readers wait for nobody's place. */
function handOn(s: State, lock: string): void {
  const hand = (next: Waiting): void => {
    take(s, next.task, lock, next.mode);
    leave(s, next);
  };
  for (const next of queueOf(s, lock)) {
    const { owner, readers } = lockOf(s, lock);
    if (owner || (next.mode === "write" && readers.length > 0)) break;
    hand(next);
  }
  for (const next of queueOf(s, lock)) if (next.mode === "recursive" && !lockOf(s, lock).owner) hand(next);
}

/** A wait has ended: with the lock, or with an error. */
function leave(s: State, wait: Waiting, error = ""): void {
  s.waiting = s.waiting.filter(({ task }) => task !== wait.task);
  Object.assign(s.tasks[wait.task]!, { at: "resumes", error });
}

/** Ends the waits that listen to a signal, in the order in which they began to. */
function abort(s: State, signal: string): void {
  if (s.aborted.includes(signal)) return;
  s.aborted = [...s.aborted, signal].toSorted();
  for (const wait of s.waiting.filter(({ signals }) => signals.includes(signal))) {
    // One may have been handed the lock since, by the leaving of one before it.
    if (!s.waiting.includes(wait)) continue;
    leave(s, wait, `abort ${signal}`);
    if (wait.lock.startsWith("r")) handOn(s, wait.lock);
  }
}

/** What is left, as text. */
function endState({ cells, tasks, locks }: State): string {
  const logs = Object.entries(tasks).map(
    ([name, { at, log }]) => `${name}:${at === "unborn" ? "-" : log.join(",")}`,
  );
  const holds = Object.entries(locks).map(
    ([lock, { owner, readers }]) => `${lock}:${[owner, ...readers].join("")}`,
  );
  return [
    Object.entries(cells)
      .map(([key, value]) => `${key}=${value}`)
      .toSorted()
      .join(" "),
    logs.join(" "),
    holds
      .filter((text) => !text.endsWith(":"))
      .toSorted()
      .join(" "),
  ].join(" | ");
}
