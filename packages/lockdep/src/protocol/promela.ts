import { takes, type Scenario, type Step, type TaskSpec } from "./program.js";

/**
 * The scenario as a model for SPIN: `spin -a x.pml && gcc -DSAFETY -o pan pan.c && ./pan` reports an invalid end
 * state if an interleaving hangs.
 *
 * Mutexes are modelled exactly. An rwsem prefers writers that wait, instead of keeping one queue: readers wait for
 * every writer that waits, so all that can hang does.
 */
export function toPromela(scenario: Scenario): string {
  return new Model(scenario).text();
}

type Held = { readonly lock: string; readonly mode: "exclusive" | "read" | "read_recursive" }[];

class Model {
  readonly #names = new Map<string, string>();

  constructor(private readonly scenario: Scenario) {
    [...scenario.locks.keys()].forEach((lock, i) => this.#names.set(lock, `l${i}_${identifier(lock)}`));
  }

  text(): string {
    const { name, comment, locks, tasks } = this.scenario;
    const lines = [`/* ${[name, comment].filter(Boolean).join(": ").replaceAll("*/", "* /")} */`, ""];
    for (const [lock, { kind }] of locks) {
      const id = this.#names.get(lock)!;
      if (kind === "mutex") lines.push(`bool ${id};`);
      else lines.push(`bool ${id}_writer; byte ${id}_readers, ${id}_waiting;`);
    }
    tasks.forEach((task, i) => lines.push("", ...this.#process(task, i)));
    return `${lines.join("\n")}\n`;
  }

  #process(task: TaskSpec, index: number): string[] {
    const held: Held = [];
    const body = task.steps.flatMap((step) => this.#step(step, held, `done${index}`));
    return [
      `active proctype t${index}_${identifier(task.name)}() {`,
      ...indent(body),
      `done${index}: skip`,
      "}",
    ];
  }

  /** The statements of a step; `held` is what the task holds before it, and is brought up to date. */
  #step(step: Step, held: Held, done: string): string[] {
    const id = this.#names.get(step.lock)!;
    const mode = takes(step, this.scenario.locks);
    if (mode) {
      const backOut = [...held].reverse().map((hold) => this.#release(hold));
      held.push({ lock: step.lock, mode });
      const take = this.#take(step.lock, mode);
      if (step.op === "trylock")
        return ["if", `:: ${take}`, `:: else -> ${[...backOut, `goto ${done}`].join("; ")}`, "fi;"];
      const queue = mode === "exclusive" && this.#isRwsem(step.lock);
      return queue ? [`${id}_waiting++;`, `${take.replace(" }", `; ${id}_waiting-- }`)};`] : [`${take};`];
    }
    const last = held.findLastIndex((hold) => hold.lock === step.lock);
    switch (step.op) {
      case "unlock":
        if (last < 0) return [`assert(false); /* unlock(${step.lock}): not held */`];
        return [`${this.#release(held.splice(last, 1)[0]!)};`];
      case "downgrade":
        if (last < 0 || held[last]!.mode !== "exclusive")
          return [`assert(false); /* downgrade(${step.lock}) */`];
        held[last] = { lock: step.lock, mode: "read" };
        return [`atomic { ${id}_writer = false; ${id}_readers++ };`];
      default:
        return [`assert(${last >= 0 === (step.op === "assert_held")}); /* ${step.op}(${step.lock}) */`];
    }
  }

  #isRwsem(lock: string): boolean {
    return this.scenario.locks.get(lock)!.kind === "rwsem";
  }

  #take(lock: string, mode: Held[number]["mode"]): string {
    const id = this.#names.get(lock)!;
    if (!this.#isRwsem(lock)) return `atomic { !${id} -> ${id} = true }`;
    if (mode === "exclusive") return `atomic { !${id}_writer && ${id}_readers == 0 -> ${id}_writer = true }`;
    const fair = mode === "read" ? ` && ${id}_waiting == 0` : "";
    return `atomic { !${id}_writer${fair} -> ${id}_readers++ }`;
  }

  #release({ lock, mode }: Held[number]): string {
    const id = this.#names.get(lock)!;
    if (!this.#isRwsem(lock)) return `${id} = false`;
    return mode === "exclusive" ? `${id}_writer = false` : `${id}_readers--`;
  }
}

const identifier = (name: string): string => name.replace(/\W/g, "_");
const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
