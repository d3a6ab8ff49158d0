import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, list } from "../../report/words.js";
import { fromCaller } from "../frames.js";
import { type Report } from "../report.js";
import { picture, type Sort } from "./sort.js";

/** A rule of RCU's is broken, as one of its assertions found. */
export interface RcuProblem {
  readonly kind: "rcu-usage";
  /** "net/tipc/bearer.c:177", and what its assertion says. */
  readonly file: string;
  readonly line: number;
  readonly says: string;
  /** Where RCU does not watch: "idle CPU", "offline CPU", "extended quiescent state", or "". */
  readonly unwatched: string;
  /** Lockdep was off: what it says of locks held may be wrong. */
  readonly debugLocks: boolean;
  readonly task: TaskName | undefined;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

export const rcu: Sort<RcuProblem> = {
  name: "rcu-usage",
  title: /^(?:\[ )?(?:WARNING|INFO|ERR): (suspicious RCU usage)/,
  kinds: ["rcu-usage"],
  sections: ["rcu"],
  read,
  words,
  graph: ({ file, line, says, held, at: place }) => {
    const who = at(place) || `${file}:${line}`;
    const edges = held.map((use) => ({
      from: use.class,
      to: who,
      label: ["held", at(use.at)],
      culprit: false,
    }));
    return picture(
      `${file}:${line}: ${says}`,
      [who],
      [...edges, { from: who, to: `${file}:${line}`, label: [says], culprit: true }],
    );
  },
  notes: (_, report) => report.heldNotes(),
};

function read(report: Report): RcuProblem {
  const said = report.need(
    report.find(/^(?:\.\/)?([\w./+-]+\.[ch]):(\d+),? (.*?)!*$/),
    "the line that says what is wrong",
  );
  const stack = report.backtrace();
  const start = stack.findIndex((frame) => /^lockdep_rcu_suspicious/.test(frame.fn));
  const header = report.lines.findIndex((_, i) => report.heldHeader(i));
  return {
    kind: "rcu-usage",
    file: said[1]!,
    line: Number(said[2]),
    says: said[3]!,
    unwatched: report.find(/^RCU used illegally from (.*)!/)?.[1] ?? "",
    debugLocks: report.find(/debug_locks = (\d)/)?.[1] !== "0",
    task: header < 0 ? undefined : report.heldHeader(header)!.task,
    at:
      start < 0
        ? []
        : fromCaller(stack.slice(start + 1).filter((frame) => !/^_*might_(?:sleep|resched)/.test(frame.fn))),
    held: report.held().locks,
  };
}

/** What each assertion is about, and what to do. */
const ASSERTIONS: readonly (readonly [RegExp, string, string])[] = [
  [
    /Illegal context switch in (RCU\S*)/,
    "something that may sleep is called inside a read-side section of RCU, where nothing may",
    "do it before rcu_read_lock() or after rcu_read_unlock(), or allocate with GFP_ATOMIC",
  ],
  [
    /rcu_dereference_protected/,
    "a pointer is read as by the one who updates it, but the lock that its condition asks for is not held",
    "take that lock, or use rcu_dereference() inside rcu_read_lock()",
  ],
  [
    /rcu_dereference|rcu_deref/,
    "a pointer that RCU protects is read, and neither is this a read-side section nor is the lock held that its condition allows instead",
    "put it between rcu_read_lock() and rcu_read_unlock(), or name the lock that is held (rcu_dereference_check, rcu_dereference_protected)",
  ],
  [
    /RCU-list traversed/,
    "a list that RCU protects is walked outside of a read-side section",
    "put it between rcu_read_lock() and rcu_read_unlock(), or give list_for_each_entry_rcu() the condition that holds",
  ],
  [
    /rcu_read_lock\w*\(\) used illegally while idle|rcu_read_unlock\w*\(\) used illegally/,
    "RCU is used where it does not watch this processor: the section protects nothing",
    "leave the idle state first (ct_irq_enter, RCU_NONIDLE), or do without RCU there",
  ],
];

function words({ file, line, says, unwatched, debugLocks, at: place, held }: RcuProblem): string[] {
  const [, what, remedy] = ASSERTIONS.find(([pattern]) => pattern.test(says)) ?? [];
  const lines = [`${file}:${line} asserts a rule of RCU that does not hold: "${says}".`];
  lines.push(
    what === undefined
      ? "What the rule is stands in the source there; it is none of RCU's usual ones."
      : `That is: ${what}.`,
  );
  if (unwatched !== "")
    lines.push(
      `The processor is one that RCU does not watch (${unwatched}): no read-side section counts there.`,
    );
  lines.push(
    held.length > 0
      ? `Held: ${list(held.map((use) => use.class))}.`
      : "No lock is held, or the report lists none.",
  );
  if (!debugLocks) lines.push("Lockdep was off by then (debug_locks = 0): the report may be false.");
  lines.push("", `Where: ${at(place) || `${file}:${line}`}`);
  if (remedy !== undefined) lines.push("", `What to do: ${remedy}.`);
  return lines;
}
