/**
 * Time to a verdict on lock protocols: explore against SPIN (spin, gcc and pan, in the same turn), and what reduction
 * saves. A row without a baseline of its own says in its text what the baseline is.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { explore } from "@vfiokit/explore";
import { protocolBody } from "@vfiokit/explore/protocol";
import { toPromela } from "@vfiokit/lockdep/protocol";
import { takeTurns } from "./lib/measure.js";

export const name = "explore";

const TURNS = 3;
const PHILOSOPHERS = [3, 4, 5, 6, 7, 8];

/** @typedef {import("@vfiokit/lockdep/protocol").Scenario} Scenario */
/** @typedef {import("@vfiokit/lockdep/protocol").Op} Op */

const AT = { fn: "", file: "bench", line: 0, column: 0 };

/**
 * @param {string} title
 * @param {"mutex" | "rwsem"} kind
 * @param {string[]} locks
 * @param {string[]} tasks each as "lock A, lock B, unlock B, unlock A"
 * @returns {Scenario}
 */
function protocol(title, kind, locks, tasks) {
  return {
    name: title,
    locks: new Map(locks.map((lock) => [lock, { kind, class: lock }])),
    tasks: tasks.map((text, i) => ({
      name: `t${i}`,
      steps: text.split(", ").map((step) => {
        const [op, lock] = step.split(" ");
        return { op: /** @type {Op} */ (op), lock: lock ?? "", subclass: 0, at: AT };
      }),
    })),
  };
}

/**
 * A task that takes locks one inside the other: "A B" is lock A, lock B, unlock B, unlock A.
 * @param {string} order
 * @param {string} [op]
 */
function nest(order, op = "lock") {
  const locks = order.split(" ");
  return [
    ...locks.map((lock) => `${op} ${lock}`),
    ...locks.toReversed().map((lock) => `unlock ${lock}`),
  ].join(", ");
}

/** @param {number} count @param {string} task */
function repeat(count, task) {
  return Array.from({ length: count }, () => task);
}

/** @param {number} count @param {boolean} polite the last one takes the other fork first: no deadlock */
function philosophers(count, polite) {
  const forks = Array.from({ length: count }, (_, i) => `f${i}`);
  const seats = forks.map((fork, i) => [fork, forks[(i + 1) % count] ?? ""]);
  if (polite) seats[count - 1]?.reverse();
  return protocol(
    `${count} philosophers`,
    "mutex",
    forks,
    seats.map((seat) => nest(seat.join(" "))),
  );
}

const ABC = ["A", "B", "C"];
/** Some deadlock, some have an order, and some only look as if they deadlocked. */
const PROTOCOLS = [
  protocol("ABBA", "mutex", ABC, [nest("A B"), nest("B A")]),
  protocol("ABAB", "mutex", ABC, [nest("A B"), nest("A B")]),
  protocol("ABBCCA", "mutex", ABC, [nest("A B"), nest("B C"), nest("C A")]),
  protocol("ABBCAC", "mutex", ABC, [nest("A B"), nest("B C"), nest("A C")]),
  protocol("ABC three times", "mutex", ABC, [nest("A B C"), nest("A B C"), nest("A B C")]),
  protocol("ABC, ACB", "mutex", ABC, [nest("A B C"), nest("A C B")]),
  protocol("ABC, BCA, CAB", "mutex", ABC, [nest("A B C"), nest("B C A"), nest("C A B")]),
  protocol("guarded ABBA", "mutex", ABC, [nest("C A B"), nest("C B A")]),
  protocol("one by one", "mutex", ABC, repeat(4, "lock A, unlock A, lock B, unlock B")),
  protocol("hand over hand", "mutex", ABC, repeat(3, "lock A, lock B, unlock A, lock C, unlock B, unlock C")),
  protocol("hand over hand, both ways", "mutex", ABC, [
    "lock A, lock B, unlock A, lock C, unlock B, unlock C",
    "lock C, lock B, unlock C, lock A, unlock B, unlock A",
  ]),
  protocol("trylock for the second", "mutex", ABC, [
    nest("A B"),
    "lock B, trylock A, unlock A, unlock B",
    nest("A B"),
  ]),
  protocol("trylocks both ways", "mutex", ABC, [
    "lock A, trylock B, unlock B, unlock A",
    "lock B, trylock A, unlock A, unlock B",
  ]),
  protocol("readers nested", "rwsem", ABC, [nest("A B", "read"), nest("B A", "read")]),
  protocol("readers nested, a writer", "rwsem", ABC, [
    nest("A B", "read"),
    nest("B A", "read"),
    "write A, unlock A",
    "write B, unlock B",
  ]),
  protocol("writers and readers in order", "rwsem", ABC, [
    nest("A B", "write"),
    nest("A B", "read"),
    nest("A B", "read"),
  ]),
  protocol("writers nested", "rwsem", ABC, [nest("A B", "write"), nest("B A", "write")]),
  philosophers(3, false),
  philosophers(4, false),
  philosophers(4, true),
];

/** @returns {Promise<import("./lib/measure.js").Row[] | string>} rows, or why there are none */
export async function run() {
  if (spawnSync("spin", ["-V"]).status !== 0 || spawnSync("gcc", ["--version"]).status !== 0)
    return "skipped: there is no spin, or no gcc";
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-bench-"));
  try {
    const rows = [];
    rows.push(
      await compare(`${PROTOCOLS.length} protocols, against spin+gcc+pan`, PROTOCOLS, (all) =>
        all.map((one) => spin(folder, one)),
      ),
    );
    for (const count of PHILOSOPHERS) {
      const all = [philosophers(count, true)];
      rows.push(
        await compare(`${count} philosophers, polite`, all, () => all.map((one) => spin(folder, one))),
      );
    }
    const small = [philosophers(3, true), ...PROTOCOLS.slice(0, 4)];
    for (const scenario of small) rows.push(await reduction(scenario));
    return rows;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * @param {string} what
 * @param {Scenario[]} scenarios
 * @param {(scenarios: Scenario[]) => boolean[]} spinVerdicts
 */
async function compare(what, scenarios, spinVerdicts) {
  /** @type {boolean[]} */
  let theirs = [];
  /** @type {boolean[]} */
  let ours = [];
  const row = await takeTurns(
    what,
    "ms",
    TURNS,
    () =>
      timed(async () => {
        ours = [];
        for (const scenario of scenarios) ours.push(await deadlocks(scenario));
      }),
    () =>
      timed(() => {
        theirs = spinVerdicts(scenarios);
      }),
  );
  scenarios.forEach((scenario, i) => {
    if (ours[i] !== theirs[i]) throw new Error(`${scenario.name}: explore and SPIN do not agree`);
  });
  return row;
}

/** @param {Scenario} scenario */
async function reduction(scenario) {
  const options = { lockdep: false, plainFields: /** @type {const} */ ("none"), keepGoing: true };
  const { executions } = await explore(protocolBody(scenario), options);
  const all = (await explore(protocolBody(scenario), { ...options, strategy: "all" })).executions;
  const what = `${scenario.name}: with, without reduction`;
  return { what, ours: executions, baseline: all, ratio: executions / all, unit: "runs" };
}

/** @param {Scenario} scenario */
async function deadlocks(scenario) {
  const { verdict } = await explore(protocolBody(scenario), {
    lockdep: false,
    plainFields: /** @type {const} */ ("none"),
  });
  return verdict === "failed";
}

/** @param {string} folder @param {Scenario} scenario */
function spin(folder, scenario) {
  const options = /** @type {const} */ ({ cwd: folder, encoding: "utf8", stdio: "pipe" });
  writeFileSync(join(folder, "model.pml"), toPromela(scenario));
  execFileSync("spin", ["-a", "model.pml"], options);
  execFileSync("gcc", ["-O0", "-w", "-DSAFETY", "-DNOFAIR", "-o", "pan", "pan.c"], options);
  return /^pan:\d+: invalid end state/m.test(execFileSync(join(folder, "pan"), ["-m10000", "-w18"], options));
}

/** Milliseconds. @param {() => void | Promise<void>} work */
async function timed(work) {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
