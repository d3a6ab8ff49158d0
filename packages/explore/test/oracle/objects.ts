import { SIZES, type Mode, type Program } from "./program.js";

/** Locks and the like, as the enumerator has them: their state, and who waits. */
export interface Objects {
  tasks: Record<string, Waiter>;
  locks: Record<string, LockState>;
  /** For all of them, first come first. */
  waiting: Waiting[];
  aborted: string[];
}

/** What waiting does to a task. */
interface Waiter {
  at: "unborn" | "begins" | "parked" | "queued" | "resumes" | "running" | "ended";
  /** What the wait gave. */
  got: string;
  /** Of a wait that has failed. */
  error: string;
}

interface LockState {
  /** Who holds it for writing, or runs the once. */
  owner: string;
  /** Those who hold it for reading, or a permit: once for each. */
  readers: string[];
  /** Free permits, or what a latch counts. */
  count: number;
  /** What is in a channel. */
  buffer: string[];
  /** The channel is closed; the once is done. */
  closed: boolean;
}

export interface Waiting {
  task: string;
  lock: string;
  mode: Mode;
  permits: number;
  /** What it sends. */
  value: string;
  signals: string[];
  limit: number;
  /** When the time limit ends the wait. */
  due?: number;
}

export function initialLocks({ tasks, never = [] }: Program): Record<string, LockState> {
  const code = tasks.flatMap(({ code }) =>
    code.flatMap((each) => (each.do === "timer" ? [each.act] : [each])),
  );
  const names = [...code, ...never].flatMap((each) => ("lock" in each ? [each.lock] : []));
  const all = names.flatMap((name) => (name.startsWith("v") ? [name, mutexOf(name)] : [name]));
  return Object.fromEntries(
    all.map((name) => [
      name,
      {
        owner: "",
        readers: [],
        count: /^[sl]/.test(name) ? SIZES[name]! : 0,
        buffer: [],
        closed: false,
      } satisfies LockState,
    ]),
  );
}

export const mutexOf = (condition: string): string => condition.replace("v", "m");
export const queueOf = (s: Objects, lock: string): Waiting[] =>
  s.waiting.filter((each) => each.lock === lock);

/** Without a look at the queue: could it be had? */
function fits(s: Objects, { lock, mode, permits }: Waiting): boolean {
  const { owner, readers, count } = s.locks[lock]!;
  if (mode === "write") return !owner && readers.length === 0;
  if (mode === "read" || mode === "recursive") return !owner;
  return (mode === "permit" || mode === "consume") && permits <= count;
}

function have(s: Objects, { task, lock, mode, permits }: Waiting): void {
  const state = s.locks[lock]!;
  if (mode === "write") state.owner = task;
  else if (mode !== "consume")
    state.readers = [...state.readers, ...Array.from({ length: permits }, () => task)].toSorted();
  if (mode === "permit" || mode === "consume") state.count -= permits;
}

/** Does at once what can be done at once. @returns false if it is to wait @throws Error as the real one does */
export function attempt(s: Objects, wait: Waiting): boolean {
  const { task, lock, mode, value } = wait;
  const state = s.locks[lock]!;
  const queue = queueOf(s, lock);
  const [first] = queue;
  switch (mode) {
    case "wait": // at a latch, or a barrier
      if (lock.startsWith("l")) return state.count === 0;
      if (queue.length + 1 < SIZES[lock]!) return false;
      for (const each of queue) leave(s, each, "", "met");
      s.tasks[task]!.got = "last";
      return true;
    case "send":
      if (state.closed) throw new Error(`${lock} is closed`);
      if (first?.mode === "receive") leave(s, first, "", value);
      else if (state.buffer.length < SIZES[lock]!) state.buffer.push(value);
      else return false;
      return true;
    case "receive": {
      const sender = first?.mode === "send" ? first : undefined;
      if (sender) state.buffer.push(sender.value);
      if (state.buffer.length === 0 && !state.closed) return false;
      s.tasks[task]!.got = state.buffer.shift() ?? "nothing";
      if (sender) leave(s, sender);
      return true;
    }
    default:
      if ((mode !== "recursive" && first) || !fits(s, wait)) return false;
      have(s, wait);
      return true;
  }
}

export function release(s: Objects, task: string, lock: string, mode: Mode, permits = 1): void {
  const state = s.locks[lock]!;
  if (mode === "write" && state.owner === task) state.owner = "";
  else if (mode !== "write" && state.readers.filter((each) => each === task).length >= permits) {
    state.readers.splice(state.readers.indexOf(task), permits);
    if (mode === "permit") state.count += permits;
  } else return;
  handOn(s, lock);
}

export function downgrade(s: Objects, task: string, lock: string): void {
  const state = s.locks[lock]!;
  if (state.owner !== task) return;
  state.owner = "";
  state.readers.push(task);
  handOn(s, lock);
}

/** Gives a lock to those who may have it, first come first; recursive readers wait for nobody's place. */
function handOn(s: Objects, lock: string): void {
  const hand = (wait: Waiting): void => {
    have(s, wait);
    leave(s, wait, s.tasks[wait.task]!.error); // of a wait with a condition, which ended so
  };
  const queue = queueOf(s, lock);
  for (let next = queue.shift(); next && fits(s, next); next = queue.shift()) hand(next);
  for (const next of queueOf(s, lock)) if (next.mode === "recursive" && fits(s, next)) hand(next);
}

/** A wait is over, well or not. Who waited with a condition wants its mutex back first, whatever comes. */
export function leave(s: Objects, wait: Waiting, error = "", got = ""): void {
  s.waiting = s.waiting.filter((each) => each !== wait);
  const task = s.tasks[wait.task]!;
  Object.assign(task, { error, got });
  const { due: _, ...rest } = wait;
  const again: Waiting = { ...rest, lock: mutexOf(wait.lock), mode: "write", signals: [] };
  if (!wait.lock.startsWith("v") || attempt(s, again)) task.at = "resumes";
  else s.waiting.push(again);
}

/** A wait ends without what it was for. */
export function fail(s: Objects, wait: Waiting, error: string): void {
  leave(s, wait, error);
  handOn(s, wait.lock);
}

/** Ends the waits that listen to a signal, in the order in which they began to, then those that listen to followers. */
export function abort(s: Objects, signal: string): void {
  if (s.aborted.includes(signal)) return;
  s.aborted = [...s.aborted, signal].toSorted();
  for (const name of [signal, `any ${signal}`])
    // One may have got its turn since, by the leaving of one before it.
    for (const wait of s.waiting.filter(({ signals }) => signals.includes(name)))
      if (s.waiting.includes(wait)) fail(s, wait, `abort ${signal}`);
}

export function act(s: Objects, what: string, lock: string, by = 1): void {
  const state = s.locks[lock]!;
  const queue = queueOf(s, lock);
  switch (what) {
    case "post":
      state.count += by;
      handOn(s, lock);
      return;
    case "countDown":
      if (state.count < by) throw new Error(`${lock} is at ${state.count}: ${by} less is below zero`);
      state.count -= by;
      if (state.count === 0) for (const each of queue) leave(s, each);
      return;
    case "notify":
      if (queue[0]) leave(s, queue[0]);
      return;
    case "notifyAll":
      for (const each of queue) leave(s, each);
      return;
    case "close":
      state.closed = true;
      for (const each of queue)
        if (each.mode === "receive") leave(s, each, "", "nothing");
        else leave(s, each, `${lock} was closed while ${each.task} waited to send`);
  }
}

/** The once has run: well, or with an error that is everybody's. */
export function made(s: Objects, lock: string, error: string): void {
  Object.assign(s.locks[lock]!, { owner: "", closed: !error });
  for (const each of queueOf(s, lock)) leave(s, each, error);
}
