import {
  Barrier,
  Channel,
  ConditionVariable,
  Latch,
  Mutex,
  Once,
  RwSemaphore,
  Semaphore,
  type AcquireOptions,
  type Task,
} from "@vfiokit/lockdep";
import type { Exploration, SharedCell, TaskHandle, TimerHandle } from "@vfiokit/explore";
import {
  BROKEN,
  nameOf,
  SIZES,
  type Fact,
  type Instr,
  type Mode,
  type Program,
  type Take,
} from "./program.js";

/** What a program needs of those who run it: an exploration has it, and plain Node can be given it. */
export type World = Pick<Exploration, "task" | "join" | "shared" | "sleep" | "clock"> & {
  step(touches?: readonly string[]): Promise<void>;
  /** None: invariants are not checked. */
  readonly invariant?: Exploration["invariant"];
  /**
   * Who has no explorer waits so before an access to a cell, which is then made by the task itself. In a function of
   * the cell's own it would be over a turn before the task goes on; the explorer's is the start of what follows.
   */
  readonly beforeAccess?: () => Promise<void>;
};

/** By the first letter of their names. */
interface Objects {
  m: Mutex;
  r: RwSemaphore;
  s: Semaphore;
  q: Semaphore;
  b: Barrier;
  l: Latch;
  h: Channel<string>;
  v: ConditionVariable;
  o: Once<void>;
}

/** A program as the real thing: async functions, real locks, cells, signals, promises and timers. */
export class RealProgram {
  readonly #cells = new Map<string, SharedCell<string>>();
  readonly #fields: Record<string, string> = {};
  readonly #locks = new Map<string, Objects[keyof Objects]>();
  /** What a task runs, if it is the one who runs the once. */
  readonly #making = new Map<string, () => Promise<void>>();
  readonly #controllers = new Map<string, AbortController>();
  readonly #signals = new Map<string, AbortSignal>();
  readonly #promises = new Map<string, { readonly promise: Promise<void>; readonly resolve: () => void }>();
  readonly #timers = new Map<string, TimerHandle>();
  readonly #handles = new Map<string, TaskHandle>();
  readonly #logs = new Map<string, string[]>();
  readonly #seen = new Map<string, string>();

  constructor(
    private readonly program: Program,
    private readonly world: World,
  ) {
    for (const { code } of program.tasks)
      for (const instr of code) {
        this.#declare(instr);
        if (instr.do === "timer") this.#declare(instr.act);
      }
    for (const [i, { late }] of program.tasks.entries()) if (!late) this.#start(nameOf(i));
    const { never } = program;
    if (!never) return;
    for (const fact of never) if ("lock" in fact) this.#make(fact.lock);
    world.invariant?.(() => this.#check(never));
  }

  /** What is left when all tasks have ended. */
  end(): string {
    const cells = [...this.#cells].map(([key, cell]) => [key, cell.current] as const);
    const values = [...cells, ...Object.entries(this.#fields)].filter(([, value]) => value !== "");
    const logs = this.program.tasks.map(
      (_, i) => `${nameOf(i)}:${this.#logs.get(nameOf(i))?.join(",") ?? "-"}`,
    );
    const holds = [...this.#locks].map(([key, lock]) => `${key}:${namesOf(lock.holders())}`);
    return [
      values
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

  hasBegun(name: string): boolean {
    return this.#handles.has(name);
  }

  #declare(instr: Instr): void {
    if ("cell" in instr && !this.#cells.has(instr.cell))
      this.#cells.set(instr.cell, this.world.shared(instr.cell, ""));
    if ("field" in instr) this.#fields[instr.field] = "";
    if ("lock" in instr) {
      this.#make(instr.lock);
      if (instr.lock.startsWith("v")) this.#make(instr.lock.replace("v", "m"));
    }
    if ("signal" in instr && instr.signal.endsWith("k0")) this.#controllers.set("k0", new AbortController());
    if ("promise" in instr && !this.#promises.has(instr.promise)) {
      let resolve!: () => void;
      const promise = new Promise<void>((done) => (resolve = done));
      this.#promises.set(instr.promise, { promise, resolve });
    }
  }

  #make(name: string): void {
    if (this.#locks.has(name)) return;
    const size = SIZES[name] ?? 0;
    const makers: { readonly [K in keyof Objects]: () => Objects[K] } = {
      m: () => new Mutex(name),
      r: () => new RwSemaphore(name),
      s: () => new Semaphore(size, name),
      q: () => new Semaphore(size, name),
      b: () => new Barrier(size, name),
      l: () => new Latch(size, name),
      h: () => new Channel<string>(size, name),
      v: () => new ConditionVariable(name),
      o: () => new Once<void>((task) => this.#making.get(task.name)!(), name),
    };
    this.#locks.set(name, makers[name[0] as keyof Objects]());
  }

  #signal(name: string): AbortSignal {
    const known = this.#signals.get(name) ?? this.#controllers.get(name)?.signal;
    if (known) return known;
    const signal = name.startsWith("any ")
      ? AbortSignal.any([this.#signal(name.replace("any ", ""))])
      : this.#handles.get(name)!.task.signal!;
    this.#signals.set(name, signal);
    return signal;
  }

  /** Between two pieces. */
  #check(never: readonly Fact[]): void {
    if (never.every((fact) => this.#isTrue(fact))) throw new Error(BROKEN);
  }

  #isTrue(fact: Fact): boolean {
    if ("cell" in fact) return this.#cells.get(fact.cell)?.current.includes(fact.has) ?? false;
    if ("field" in fact) return this.#fields[fact.field]?.includes(fact.has) ?? false;
    const lock = this.#locks.get(fact.lock);
    if ("waits" in fact) return (lock?.waiters().length ?? 0) > 0;
    return lock?.holders().some(({ name }) => name === fact.holder) ?? false;
  }

  /** The object of that name, if it is of that kind. */
  #as<K extends keyof Objects>(kind: K, name: string): Objects[K] | undefined {
    return name.startsWith(kind) ? (this.#locks.get(name) as Objects[K]) : undefined;
  }

  #start(name: string): void {
    if (this.#handles.has(name)) return;
    this.#logs.set(name, []);
    const { code } = this.program.tasks.find((_, i) => nameOf(i) === name)!;
    this.#handles.set(
      name,
      // Not an async function: what follows an await in it would be a piece of its own.
      this.world.task(name, (task) => this.#run(task, code, 0, code.length)),
    );
  }

  async #run(task: Task, code: readonly Instr[], from: number, to: number): Promise<void> {
    for (let pc = from; pc < to; pc++) {
      const instr = code[pc]!;
      switch (instr.do) {
        case "step":
          await this.world.step(instr.touches);
          break;
        case "preempt":
          await task.preempt();
          break;
        case "gap":
          if (instr.how === "null") await Promise.resolve();
          else if (instr.how === "then") await Promise.resolve().then(() => undefined);
          else await this.#helper();
          break;
        case "call": {
          const end = endOfCall(code, pc);
          await this.#run(task, code, pc + 1, end);
          pc = end;
          break;
        }
        case "await":
          await this.#promises.get(instr.promise)!.promise;
          break;
        case "sleep":
          await this.world.sleep(instr.ms);
          break;
        case "join": {
          const other = this.#handles.get(instr.task);
          if (other && instr.task !== task.name) await this.world.join(other);
          break;
        }
        case "get": {
          const cell = this.#cells.get(instr.cell)!;
          if (this.world.beforeAccess) {
            await this.world.beforeAccess();
            this.#saw(task, instr.cell, cell.current);
          } else this.#saw(task, instr.cell, await cell.get());
          break;
        }
        case "set": {
          const cell = this.#cells.get(instr.cell)!;
          const value = this.#lastSeen(task) + task.name;
          if (this.world.beforeAccess) {
            await this.world.beforeAccess();
            cell.current = value;
          } else await cell.set(value);
          break;
        }
        case "take": {
          const { lock, mode, signal, limit: timeoutMs, skip, caught } = instr;
          if (this.#inVain(task, instr)) {
            pc += skip;
            break;
          }
          const options = {
            ...(signal !== undefined && { signal: this.#signal(signal) }),
            ...(timeoutMs !== undefined && { timeoutMs }),
          };
          const [first, next] = [pc + 1, pc + skip];
          if (mode === "once") {
            this.#making.set(task.name, () => this.#run(task, code, first, next));
            pc = next;
          }
          try {
            const got = await this.#take(task, instr, options);
            if (lock.startsWith("b")) this.#note(task, got === true ? "last" : "met");
            if (mode === "receive") this.#note(task, typeof got === "string" ? got : "nothing");
          } catch (error) {
            if (!caught) throw error;
            this.#note(task, "caught");
            pc = next;
          }
          break;
        }
        case "try":
          if (this.#try(task, instr)) break;
          this.#note(task, "busy");
          pc += instr.skip;
          break;
        default:
          this.#do(task, instr);
      }
    }
  }

  /** What is no place where others can run. `task`: none for a timer. */
  #do(task: Task | undefined, instr: Instr): void {
    const name = task?.name ?? "T";
    switch (instr.do) {
      case "post":
      case "countDown":
      case "notify":
      case "notifyAll":
      case "close": {
        this.#act(instr.do, instr.lock, instr.permits);
        return;
      }
      case "release": {
        this.#release(task!, instr.lock, instr.mode, instr.permits);
        return;
      }
      case "downgrade": {
        const lock = this.#as("r", instr.lock)!;
        if (lock.isHeldBy(task!, "write")) lock.downgradeWrite(task!);
        return;
      }
      case "look": {
        const lock = this.#locks.get(instr.lock)!;
        const owner = (): string =>
          lock instanceof Mutex ? (lock.owner?.name ?? "") : namesOf(lock.holders());
        if (instr.at === "state") this.#note(task!, `:${this.#state(instr.lock)}`);
        else this.#note(task!, instr.at === "owner" ? `?${owner()}` : `#${lock.waiters().length}`);
        return;
      }
      case "append":
        if ("cell" in instr) this.#cells.get(instr.cell)!.current += name;
        else this.#fields[instr.field] = this.#fields[instr.field]! + name;
        return;
      case "see":
        if ("cell" in instr) this.#saw(task!, instr.cell, this.#cells.get(instr.cell)!.current);
        else this.#saw(task!, instr.field, this.#fields[instr.field]!);
        return;
      case "put":
        this.#fields[instr.field] = this.#lastSeen(task!) + name;
        return;
      case "fail":
        if (this.#lastSeen(task!).includes(instr.when)) throw new Error(`saw ${instr.when}`);
        return;
      case "resolve": {
        this.#promises.get(instr.promise)!.resolve();
        return;
      }
      case "abort":
        return this.#handles.get(instr.task)?.abort(new Error(`abort ${instr.task}`));
      case "cancel": {
        this.#controllers.get(instr.signal)!.abort(new Error(`abort ${instr.signal}`));
        return;
      }
      case "start": {
        this.#start(instr.task);
        return;
      }
      case "timer": {
        const fire = (): void => this.#do(undefined, instr.act);
        return void this.#timers.set(instr.timer, this.world.clock.setTimeout(fire, instr.ms));
      }
      case "stop": {
        this.world.clock.clearTimeout(this.#timers.get(instr.timer));
        return;
      }
      case "now": {
        this.#note(task!, `@${this.world.clock.now()}`);
        return;
      }
      default:
        throw new Error(`${instr.do} is a place where others run`);
    }
  }

  #note({ name }: Task, text: string): void {
    this.#logs.get(name)!.push(text);
  }

  #saw(task: Task, key: string, value: string): void {
    this.#seen.set(task.name, value);
    this.#note(task, `${key}=${value}`);
  }

  /** An async function that is over when it returns: awaiting it is one place, and no more. */
  // eslint-disable-next-line @typescript-eslint/require-await
  async #helper(): Promise<void> {
    return;
  }

  #lastSeen({ name }: Task): string {
    return this.#seen.get(name) ?? "";
  }

  #inVain(task: Task, { lock, mode }: Take): boolean {
    if (lock.startsWith("v")) return !this.#as("m", lock.replace("v", "m"))!.isHeldBy(task);
    const once = this.#as("o", lock);
    if (once) return once.holders().includes(task);
    if (this.#as("m", lock)?.isHeldBy(task)) return true;
    return this.#as("r", lock)?.isHeldBy(task, mode === "write" ? undefined : "write") ?? false;
  }

  /** Calls what returns no promise where none is needed: `await` gives way all the same. */
  #take(task: Task, { lock, mode, permits }: Take, options: AcquireOptions): unknown {
    const rwsem = this.#as("r", lock);
    if (mode === "write")
      return rwsem ? rwsem.downWrite(task, options) : this.#as("m", lock)!.lock(task, options);
    if (mode === "permit") return this.#as("s", lock)!.acquire(task, permits, options);
    if (mode === "consume") return this.#as("q", lock)!.consume(task, permits, options);
    if (mode === "send") return this.#as("h", lock)!.send(task, this.#lastSeen(task) + task.name, options);
    if (mode === "receive") return this.#as("h", lock)!.receive(task, options);
    if (mode === "once") return this.#as("o", lock)!.get(task, options);
    if (mode !== "wait") return rwsem!.downRead(task, { ...options, recursive: mode === "recursive" });
    if (lock.startsWith("v"))
      return this.#as("v", lock)!.wait(task, this.#as("m", lock.replace("v", "m"))!, options);
    return (this.#as("l", lock) ?? this.#as("b", lock)!).wait(task, options);
  }

  #try(task: Task, { lock, mode, permits }: Pick<Take, "lock" | "mode" | "permits">): boolean {
    const rwsem = this.#as("r", lock);
    if (mode === "write") return rwsem ? rwsem.tryDownWrite(task) : this.#as("m", lock)!.tryLock(task);
    if (mode === "permit") return this.#as("s", lock)!.tryAcquire(task, permits) !== undefined;
    if (mode === "consume") return this.#as("q", lock)!.tryConsume(task, permits);
    if (mode === "send") return this.#as("h", lock)!.trySend(this.#lastSeen(task) + task.name);
    if (mode !== "receive") return rwsem!.tryDownRead(task, { recursive: mode === "recursive" });
    const value = this.#as("h", lock)!.tryReceive();
    if (value !== undefined) this.#note(task, value);
    return value !== undefined;
  }

  #release(task: Task, lock: string, mode: Mode, permits = 1): void {
    const rwsem = this.#as("r", lock);
    const semaphore = this.#as("s", lock);
    if (this.#as("m", lock)?.isHeldBy(task)) this.#as("m", lock)!.unlock(task);
    else if (mode === "write" && rwsem?.isHeldBy(task, "write")) rwsem.upWrite(task);
    else if (mode !== "write" && rwsem?.isHeldBy(task, "read")) rwsem.upRead(task);
    else if (semaphore && semaphore.heldBy(task) >= permits) semaphore.release(task, permits);
  }

  #state(lock: string): string {
    const channel = this.#as("h", lock);
    if (channel) return `${channel.size}${channel.closed ? "!" : ""}`;
    if (lock.startsWith("o")) return this.#as("o", lock)!.done ? "0!" : "0";
    const semaphore = this.#as("s", lock) ?? this.#as("q", lock);
    return `${semaphore?.free ?? this.#as("l", lock)?.count ?? this.#as("b", lock)?.arrived ?? 0}`;
  }

  #act(what: string, lock: string, by?: number): void {
    if (what === "post") this.#as("q", lock)!.post(by);
    else if (what === "countDown") this.#as("l", lock)!.countDown(by);
    else if (what === "notify") this.#as("v", lock)!.notify();
    else if (what === "notifyAll") this.#as("v", lock)!.notifyAll();
    else this.#as("h", lock)!.close();
  }
}

/** Each once: how many holds a task has is not told. */
const namesOf = (tasks: readonly Task[]): string =>
  [...new Set(tasks.map(({ name }) => name))].toSorted().join("");

/** Where the "return" of a "call" is. */
function endOfCall(code: readonly Instr[], call: number): number {
  for (let [at, depth] = [call + 1, 0]; at < code.length; at++) {
    if (code[at]!.do === "call") depth++;
    else if (code[at]!.do === "return" && depth-- === 0) return at;
  }
  throw new Error("a call without a return");
}
