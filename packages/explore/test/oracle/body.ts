import { Mutex, RwSemaphore, type Task } from "@vfiokit/lockdep";
import type { Exploration, SharedCell, TaskHandle, TimerHandle } from "@vfiokit/explore";
import { nameOf, type Instr, type Mode, type Program } from "./program.js";

/** What a program needs of those who run it: an exploration has it, and plain Node can be given it. */
export type World = Pick<Exploration, "task" | "join" | "step" | "shared" | "sleep" | "clock">;

/** A program as the real thing: async functions, real locks, cells, signals, promises and timers. */
export class RealProgram {
  readonly #cells = new Map<string, SharedCell<string>>();
  readonly #fields: Record<string, string> = {};
  readonly #mutexes = new Map<string, Mutex>();
  readonly #rwsems = new Map<string, RwSemaphore>();
  readonly #signals = new Map<string, AbortController>();
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
  }

  /** What is left when all tasks have ended. */
  end(): string {
    const cells = [...this.#cells].map(([key, cell]) => [key, cell.current] as const);
    const values = [...cells, ...Object.entries(this.#fields)].filter(([, value]) => value !== "");
    const logs = this.program.tasks.map(
      (_, i) => `${nameOf(i)}:${this.#logs.get(nameOf(i))?.join(",") ?? "-"}`,
    );
    const holds = [...this.#mutexes, ...this.#rwsems].map(
      ([key, lock]) => `${key}:${namesOf(lock.holders())}`,
    );
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
      const { lock } = instr;
      if (lock.startsWith("m")) this.#mutexes.set(lock, this.#mutexes.get(lock) ?? new Mutex(lock));
      else this.#rwsems.set(lock, this.#rwsems.get(lock) ?? new RwSemaphore(lock));
    }
    if ("signal" in instr && !this.#signals.has(instr.signal))
      this.#signals.set(instr.signal, new AbortController());
    if ("promise" in instr && !this.#promises.has(instr.promise)) {
      let resolve!: () => void;
      const promise = new Promise<void>((done) => (resolve = done));
      this.#promises.set(instr.promise, { promise, resolve });
    }
  }

  #start(name: string): void {
    if (this.#handles.has(name)) return;
    this.#logs.set(name, []);
    const { code } = this.program.tasks.find((_, i) => nameOf(i) === name)!;
    this.#handles.set(
      name,
      this.world.task(name, async (task) => {
        await this.#run(task, code, 0, code.length);
      }),
    );
  }

  async #run(task: Task, code: readonly Instr[], from: number, to: number): Promise<void> {
    for (let pc = from; pc < to; pc++) {
      const instr = code[pc]!;
      switch (instr.do) {
        case "step":
          await this.world.step();
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
        case "get":
          this.#saw(task, instr.cell, await this.#cells.get(instr.cell)!.get());
          break;
        case "set":
          await this.#cells.get(instr.cell)!.set(this.#lastSeen(task) + task.name);
          break;
        case "take": {
          if (this.#waitsForItself(task, instr.lock, instr.mode)) {
            pc += instr.skip;
            break;
          }
          const options = {
            ...(instr.signal !== undefined && { signal: this.#signals.get(instr.signal)!.signal }),
          };
          if (!instr.caught) await this.#take(task, instr.lock, instr.mode, options);
          else
            try {
              await this.#take(task, instr.lock, instr.mode, options);
            } catch {
              this.#note(task, "caught");
              pc += instr.skip;
            }
          break;
        }
        case "try":
          if (this.#try(task, instr.lock, instr.mode)) break;
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
      case "release": {
        this.#release(task!, instr.lock, instr.mode);
        return;
      }
      case "downgrade": {
        const lock = this.#rwsems.get(instr.lock)!;
        if (lock.isHeldBy(task!, "write")) lock.downgradeWrite(task!);
        return;
      }
      case "look": {
        const lock = this.#mutexes.get(instr.lock) ?? this.#rwsems.get(instr.lock)!;
        const owner = (): string =>
          lock instanceof Mutex ? (lock.owner?.name ?? "") : namesOf(lock.holders());
        this.#note(task!, instr.at === "owner" ? `?${owner()}` : `#${lock.waiters().length}`);
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
        this.#signals.get(instr.signal)!.abort(new Error(`abort ${instr.signal}`));
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

  #waitsForItself(task: Task, lock: string, mode: Mode): boolean {
    if (mode === "exclusive") return this.#mutexes.get(lock)!.isHeldBy(task);
    return this.#rwsems.get(lock)!.isHeldBy(task, mode === "write" ? undefined : "write");
  }

  #take(task: Task, lock: string, mode: Mode, options: { signal?: AbortSignal }): void | Promise<void> {
    if (mode === "exclusive") return this.#mutexes.get(lock)!.lock(task, options);
    const rwsem = this.#rwsems.get(lock)!;
    return mode === "write"
      ? rwsem.downWrite(task, options)
      : rwsem.downRead(task, { ...options, recursive: mode === "recursive" });
  }

  #try(task: Task, lock: string, mode: Mode): boolean {
    if (mode === "exclusive") return this.#mutexes.get(lock)!.tryLock(task);
    const rwsem = this.#rwsems.get(lock)!;
    return mode === "write"
      ? rwsem.tryDownWrite(task)
      : rwsem.tryDownRead(task, { recursive: mode === "recursive" });
  }

  #release(task: Task, lock: string, mode: Mode): void {
    const mutex = this.#mutexes.get(lock);
    const rwsem = this.#rwsems.get(lock);
    if (mutex?.isHeldBy(task)) mutex.unlock(task);
    else if (mode === "write" && rwsem?.isHeldBy(task, "write")) rwsem.upWrite(task);
    else if (mode !== "write" && rwsem?.isHeldBy(task, "read")) rwsem.upRead(task);
  }
}

const namesOf = (tasks: readonly Task[]): string =>
  tasks
    .map(({ name }) => name)
    .toSorted()
    .join("");

/** Where the "return" of a "call" is. */
function endOfCall(code: readonly Instr[], call: number): number {
  for (let [at, depth] = [call + 1, 0]; at < code.length; at++) {
    if (code[at]!.do === "call") depth++;
    else if (code[at]!.do === "return" && depth-- === 0) return at;
  }
  throw new Error("a call without a return");
}
