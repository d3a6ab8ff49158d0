import { setImmediate as settled } from "node:timers/promises";
import { lockdep, Task } from "@vfiokit/lockdep";
import { RealProgram, type World } from "./body.js";
import { dice } from "./generator.js";
import { nameOf, type Program } from "./program.js";

/**
 * Runs a program as Node does, with nobody who schedules: what a place takes, in turns of the microtask queue, is drawn
 * by lot. Virtual time passes when nothing else can be done.
 * @returns what it ended with, as the enumerator has it
 */
export async function runPlain(
  program: Program,
  seed: number,
): Promise<{ end?: string; failures: string[] }> {
  lockdep.configure({ mode: "off" }); // orders of locks are nobody's business here
  const below = dice(seed);
  const failures: string[] = [];
  const ends = new Map<object, Promise<void>>();
  const ended = new Set<string>();
  const timers: { deadline: number; fire: () => void }[] = [];
  let now = 0;
  const turns = async (least = 0): Promise<void> => {
    for (let n = least + below(5); n > 0; n--) await Promise.resolve();
  };
  const setTimer = (fire: () => void, milliseconds: number) => {
    const timer = { deadline: now + milliseconds, fire };
    timers.push(timer);
    return timer;
  };
  const clearTimer = (timer: object | undefined): void => {
    const at = timers.findIndex((each) => each === timer);
    if (at >= 0) timers.splice(at, 1);
  };
  const world: World = {
    task(name, run) {
      const controller = new AbortController();
      const task = new Task(name, { signal: controller.signal });
      const handle = { task, ended: false, abort: (reason?: unknown) => controller.abort(reason) };
      const begins = async (): Promise<void> => {
        await turns(1);
        try {
          await run(task);
        } catch (error) {
          if (controller.signal.reason !== error) failures.push(`${name}: ${(error as Error).message}`);
        }
        ended.add(name);
      };
      ends.set(handle, begins());
      return handle;
    },
    async join(handle) {
      await ends.get(handle);
    },
    step: () => turns(),
    beforeAccess: () => turns(),
    shared: (_name, value) => ({
      current: value,
      get: () => Promise.reject(new Error("not here")),
      set: () => Promise.reject(new Error("not here")),
    }),
    sleep: (milliseconds) => new Promise((resolve) => setTimer(resolve, milliseconds)),
    clock: {
      now: () => now,
      sleep: (milliseconds) => new Promise((resolve) => setTimer(resolve, milliseconds)),
      setTimeout: setTimer,
      clearTimeout: clearTimer,
    },
  };
  const real = new RealProgram(program, world);
  for (;;) {
    await settled();
    const [next] = timers.toSorted((a, b) => a.deadline - b.deadline);
    if (!next) break;
    clearTimer(next);
    now = next.deadline;
    next.fire();
  }
  const begun = program.tasks.map((_, i) => nameOf(i)).filter((name) => real.hasBegun(name));
  if (begun.some((name) => !ended.has(name))) failures.push("stuck");
  return failures.length > 0 ? { failures } : { failures, end: real.end() };
}
