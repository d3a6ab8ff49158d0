import fc from "fast-check";
import { Mutex, RwSemaphore, Shared, type Task } from "@vfiokit/lockdep";
import type { Body, Exploration, TaskHandle } from "@vfiokit/explore";

/** What a task of a random program does. Cells and locks are chosen by number. */
export type Op =
  | { op: "set" | "get"; cell: number }
  /** An access that is no scheduling point of its own. */
  | { op: "plain"; cell: number }
  | { op: "step" }
  | { op: "sleep"; time: number }
  /** Cancels a task. */
  | { op: "abort"; task: number }
  /** Cancels the waits that can be cancelled by themselves. */
  | { op: "cancel" }
  /** Waits for the task to end. */
  | { op: "join"; task: number }
  | { op: LockOp; lock: number; inside: readonly Op[] }
  /** Makes a task. */
  | { op: "task"; inside: readonly Op[] }
  /** Sets a timer, and stops it if it has not fired meanwhile. */
  | { op: "timer"; time: number; inside: readonly Op[] };
type LockOp = (typeof LOCK_OPS)[number];

const LOCK_OPS = [
  "mutex",
  "mutex-signal",
  "mutex-again",
  "try",
  "read",
  "read-recursive",
  "write",
  "downgrade",
  "try-read",
  "try-write",
] as const;

const time = fc.integer({ min: 1, max: 3 });

/** @param objects cells, locks of a kind: the fewer, the more the tasks get in each other's way */
function programs(objects: number): fc.Arbitrary<Op[][]> {
  const which = fc.nat(objects - 1);
  const op = <K extends Op["op"]>(...names: K[]): fc.Arbitrary<K> => fc.constantFrom(...names);
  const small: fc.Arbitrary<Op> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ op: op("set", "get"), cell: which }) },
    { weight: 2, arbitrary: fc.record({ op: op("plain"), cell: which }) },
    { weight: 1, arbitrary: fc.record({ op: op("step", "cancel") }) },
    { weight: 1, arbitrary: fc.record({ op: op("sleep"), time }) },
    { weight: 3, arbitrary: fc.record({ op: op("abort", "join"), task: fc.nat(2) }) },
  );
  const nest = (each: fc.Arbitrary<Op>): fc.Arbitrary<Op> => {
    const inside = fc.array(each, { maxLength: 2 });
    return fc.oneof(
      { weight: 8, arbitrary: fc.record({ op: fc.constantFrom(...LOCK_OPS), lock: which, inside }) },
      { weight: 1, arbitrary: fc.record({ op: op("task"), inside }) },
      { weight: 1, arbitrary: fc.record({ op: op("timer"), time, inside }) },
    );
  };
  const inner = nest(small);
  const outer = fc.oneof(small, inner, nest(fc.oneof(small, inner)));
  return fc.array(fc.array(outer, { minLength: 1, maxLength: 2 }), { minLength: 2, maxLength: 3 });
}
/** Tasks of a program, with few objects, so that they meet. */
export const program = fc.oneof(programs(1), programs(2));

/** Runs the program's tasks; every execution that ends adds what it came to. */
export function body(tasks: readonly (readonly Op[])[], outcomes: Set<string>): Body {
  return (x) => {
    const machine = new Machine(x);
    tasks.forEach((ops, i) => machine.task("abc"[i]!, ops));
    x.finally(() => void outcomes.add(machine.outcome()));
  };
}

class Machine {
  readonly cells: ReturnType<typeof this.x.shared<string>>[];
  readonly mutexes = [new Mutex("m0"), new Mutex("m1")];
  readonly rwsems = [new RwSemaphore("r0"), new RwSemaphore("r1")];
  readonly controller = new AbortController();
  /** Who is there depends on who has begun: tasks look at that, and so the explorer has to see it. */
  readonly #handles = new Shared<readonly TaskHandle[]>("handles", []);
  readonly seen: string[] = [];

  constructor(readonly x: Exploration) {
    this.cells = [x.shared("c0", ""), x.shared("c1", "")];
  }

  task(name: string, ops: readonly Op[]): void {
    const handle = this.x.task(name, async (task) => {
      try {
        for (const each of ops) await this.do(task, each);
      } catch (error) {
        if (!/cancel/.test(String(error))) throw error;
        this.note(task, "cancelled");
      }
    });
    this.#handles.value = [...this.#handles.value, handle];
  }

  outcome(): string {
    return `${this.cells.map((cell) => cell.current).join("|")} ${this.seen.toSorted().join(",")}`;
  }

  note(task: Task, what: string): void {
    this.seen.push(`${task.name}:${what}`);
  }

  async do(task: Task, item: Op): Promise<void> {
    switch (item.op) {
      case "set":
        return this.cells[item.cell]!.set(`${await this.cells[item.cell]!.get()}${task.name}`);
      case "get": {
        this.note(task, await this.cells[item.cell]!.get());
        return;
      }
      case "plain":
        this.cells[item.cell]!.current += task.name;
        return;
      case "step":
        return this.x.step();
      case "sleep":
        await this.x.sleep(item.time);
        {
          this.note(task, `at ${this.x.clock.now()}`);
          return;
        }
      case "abort":
        this.#handles.value[item.task]?.abort(new Error("cancel"));
        return;
      case "cancel": {
        this.controller.abort(new Error("cancel"));
        return;
      }
      case "join":
        if (this.#handles.value[item.task] && this.#handles.value[item.task]!.task !== task)
          await this.x.join(this.#handles.value[item.task]!);
        return;
      case "task": {
        this.task(`${task.name}'`, item.inside);
        return;
      }
      case "timer": {
        const timer = this.x.clock.setTimeout(() => this.note(task, "timer"), item.time);
        for (const each of item.inside) await this.do(task, each);
        this.x.clock.clearTimeout(timer);
        return;
      }
      default:
        return this.locked(task, item);
    }
  }

  async locked(task: Task, { op, lock, inside }: Extract<Op, { lock: number }>): Promise<void> {
    const mutex = this.mutexes[lock]!;
    const rwsem = this.rwsems[lock]!;
    const isMutex = op === "try" || op.startsWith("mutex");
    // A task that takes a lock twice fails, whatever the others do: of no interest here.
    if (task.holds.some((hold) => hold.lock === (isMutex ? mutex : rwsem))) return;
    const all = async (): Promise<void> => {
      for (const each of inside) await this.do(task, each);
    };
    switch (op) {
      case "mutex":
      case "mutex-signal": {
        using _ = await mutex.acquire(task, op === "mutex" ? {} : { signal: this.controller.signal });
        await all();
        return;
      }
      case "mutex-again": {
        await mutex.lock(task);
        mutex.unlock(task);
        return this.tried(task, mutex.tryLock(task), () => mutex.unlock(task), all);
      }
      case "try":
        return this.tried(task, mutex.tryLock(task), () => mutex.unlock(task), all);
      case "read":
      case "read-recursive": {
        using _ = await rwsem.read(task, { recursive: op === "read-recursive" });
        await all();
        return;
      }
      case "write": {
        using _ = await rwsem.write(task, { signal: this.controller.signal });
        await all();
        return;
      }
      case "downgrade": {
        using _ = await rwsem.write(task);
        await this.x.step();
        rwsem.downgradeWrite(task);
        await all();
        return;
      }
      case "try-read":
        return this.tried(task, rwsem.tryDownRead(task), () => rwsem.upRead(task), all);
      case "try-write":
        return this.tried(task, rwsem.tryDownWrite(task), () => rwsem.upWrite(task), all);
    }
  }

  async tried(task: Task, free: boolean, unlock: () => void, all: () => Promise<void>): Promise<void> {
    if (!free) {
      this.note(task, "busy");
      return;
    }
    try {
      await all();
    } finally {
      unlock();
    }
  }
}

/** Programs that earlier versions of the reduction got wrong. */
export const FOUND: [tasks: Op[][]][] = [
  // What a trylock guards is touched only if it succeeds.
  [
    [
      [{ op: "task", inside: [{ op: "plain", cell: 0 }] }],
      [
        { op: "try", lock: 0, inside: [{ op: "try-read", lock: 0, inside: [{ op: "plain", cell: 0 }] }] },
        { op: "abort", task: 0 },
      ],
      [{ op: "mutex", lock: 0, inside: [{ op: "set", cell: 0 }] }],
    ],
  ],
  // A timer could be set before the one that fired before it.
  [
    [
      [
        { op: "sleep", time: 1 },
        { op: "mutex", lock: 0, inside: [] },
      ],
      [
        { op: "sleep", time: 2 },
        { op: "abort", task: 0 },
      ],
    ],
  ],
  // A timer that was stopped could have fired, if another one had been set later.
  [
    [
      [
        {
          op: "timer",
          time: 2,
          inside: [{ op: "mutex", lock: 0, inside: [{ op: "sleep", time: 1 }] }],
        },
      ],
      [{ op: "sleep", time: 1 }],
    ],
  ],
  [
    [
      [{ op: "mutex", lock: 0, inside: [{ op: "timer", time: 3, inside: [{ op: "join", task: 1 }] }] }],
      [
        { op: "sleep", time: 1 },
        { op: "timer", time: 1, inside: [{ op: "sleep", time: 1 }] },
      ],
    ],
  ],
  // A task that is blocked for ever could have come first.
  [
    [
      [
        { op: "try", lock: 0, inside: [] },
        { op: "mutex", lock: 1, inside: [{ op: "mutex", lock: 0, inside: [] }] },
      ],
      [{ op: "mutex", lock: 0, inside: [] }],
      [{ op: "mutex", lock: 0, inside: [{ op: "mutex", lock: 1, inside: [] }] }],
    ],
  ],
];
