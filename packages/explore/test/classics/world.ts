import fc from "fast-check";
import { explore, type Body, type ExploreReport } from "@vfiokit/explore";
import { Mutex, Task } from "@vfiokit/lockdep";

/** What the classics are written against, so that both tools run the same code. */
export interface World {
  task(name: string, run: (task: Task) => Promise<void>): void;
  /** A variable behind something slow: each access is a place where others run. */
  cell<T>(name: string, value: T): Cell<T>;
}

export interface Cell<T> {
  get(): Promise<T>;
  set(value: T): Promise<void>;
  /** Its value, at once. */
  current: T;
}

export interface Classic {
  readonly name: string;
  /** @returns what has to hold at the end */
  readonly program: (world: World) => () => void;
  /** The same without the bug. */
  readonly mended: (world: World) => () => void;
}

type Program = Classic["program"];

export function programBody(program: Program): Body {
  return (x) => {
    const check = program({
      task: (name, run) => void x.task(name, run),
      cell: (name, value) => x.shared(name, value),
    });
    x.finally(check);
  };
}

export function exploreIt(program: Program): Promise<ExploreReport> {
  return explore(programBody(program), { plainFields: "none" });
}

/** Runs that fast-check's scheduler needs, until one fails. `undefined`: none of them did. */
export async function fastCheckIt(
  program: Program,
  seed: number,
  numRuns: number,
): Promise<number | undefined> {
  const property = fc.asyncProperty(fc.scheduler(), async (s) => {
    const running = new Set<string>();
    const errors: unknown[] = [];
    const check = program({
      task(name, run) {
        running.add(name);
        const begin = async (): Promise<void> => {
          await s.schedule(Promise.resolve(), `begin ${name}`);
          await run(new Task(name));
        };
        begin().then(
          () => running.delete(name),
          (error: unknown) => errors.push(error),
        );
      },
      cell<T>(name: string, initial: T): Cell<T> {
        let value = initial;
        return {
          async get() {
            await s.schedule(Promise.resolve(), `get ${name}`);
            return value;
          },
          async set(next: T) {
            await s.schedule(Promise.resolve(), `set ${name}`);
            value = next;
          },
          get current() {
            return value;
          },
          set current(next: T) {
            value = next;
          },
        };
      },
    });
    await s.waitIdle();
    if (errors.length > 0) throw errors[0] as Error;
    if (running.size > 0) throw new Error(`${[...running].join(", ")} never ended`);
    check();
  });
  const { failed, numRuns: runs } = await fc.check(property, { seed, numRuns, endOnFailure: true });
  return failed ? runs : undefined;
}

/** One at a time. */
export function critical(): (task: Task, run: () => Promise<void>) => Promise<void> {
  const lock = new Mutex("critical");
  return async (task, run) => {
    using _ = await lock.acquire(task);
    await run();
  };
}
