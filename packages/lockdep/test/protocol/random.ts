import fc from "fast-check";
import type { Op, Scenario, Step } from "@vfiokit/lockdep/protocol";

const AT = { fn: "", file: "random", line: 0, column: 0 };
const LOCKS = ["A", "B", "C", "D", "E", "F"];

/**
 * Protocols of up to six tasks and six locks that release what they hold: each choice of a task is to take one of
 * the locks (sometimes by a trylock), or to release one of those it holds, in whatever order.
 */
export function protocols(kind: "mutex" | "rwsem", limits = { tasks: 6, steps: 6 }): fc.Arbitrary<Scenario> {
  const ops: Op[] =
    kind === "mutex" ? ["lock", "lock", "lock", "trylock"] : ["read", "write", "read_recursive"];
  const choice = fc.record({
    lock: fc.nat(LOCKS.length - 1),
    op: fc.constantFrom(...ops),
    release: fc.nat(3),
    which: fc.nat(5),
  });
  return fc
    .array(fc.array(choice, { minLength: 1, maxLength: limits.steps }), {
      minLength: 1,
      maxLength: limits.tasks,
    })
    .map((tasks) => ({
      name: "random",
      locks: new Map(LOCKS.map((name) => [name, { kind, class: name }])),
      tasks: tasks.map((choices, i) => ({ name: `t${i}`, steps: steps(choices) })),
    }));
}

function steps(choices: readonly { lock: number; op: Op; release: number; which: number }[]): Step[] {
  const held: string[] = [];
  const all: Step[] = [];
  const add = (op: Op, lock: string): void => void all.push({ op, lock, subclass: 0, at: AT });
  for (const { lock, op, release, which } of choices) {
    if (release === 0 && held.length > 0) add("unlock", held.splice(which % held.length, 1)[0]!);
    const name = LOCKS[lock]!;
    if (held.includes(name)) continue;
    add(op, name);
    held.push(name);
  }
  for (const name of held.reverse()) add("unlock", name);
  return all;
}
