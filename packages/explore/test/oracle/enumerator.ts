import { Machine } from "./machine.js";
import type { Program } from "./program.js";

/*
 * The oracle: what a program can come to, found by a plain enumeration that shares no code with the explorer. Its parts
 * have a subject each: this file enumerates; machine.ts says who can go on and what a piece does; objects.ts what locks
 * do; state.ts what there is.
 */

/** What can come of a program. */
export interface Outcomes {
  /** End states of executions without a failure. */
  readonly ends: ReadonlySet<string>;
  readonly failures: ReadonlySet<string>;
}

/** Every interleaving of a program's pieces, one after the other; a state that was met before is not entered again. */
export function enumerate(program: Program, maxStates = 1e6): Outcomes | undefined {
  const machine = new Machine(program);
  const [ends, failures] = [new Set<string>(), new Set<string>()];
  const first = machine.first();
  const [known, open] = [new Set([first]), [first]];
  for (let text = open.pop(); text !== undefined; text = open.pop()) {
    for (const next of machine.next(text, ends, failures)) {
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
    const all = machine.next(text, ends, failures);
    if (all.length === 0) schedules++;
    for (const next of all) if (schedules < maxSchedules) goOn(next);
  };
  goOn(machine.first());
  return schedules < maxSchedules ? { ends, failures } : undefined;
}
