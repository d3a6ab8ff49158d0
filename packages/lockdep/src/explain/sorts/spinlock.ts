import type { Place, TaskName } from "../../problem.js";
import { at, nameOf } from "../../report/words.js";
import { callers, type Report } from "../report.js";
import { head, picture, type Sort } from "./sort.js";

/** CONFIG_DEBUG_SPINLOCK: the lock itself is broken, or used against its rules. */
export interface SpinlockProblem {
  readonly kind: "spinlock";
  /** "bad magic", "recursion", "lockup suspected", "already unlocked", "wrong owner", "wrong CPU". */
  readonly what: string;
  readonly task: TaskName;
  readonly cpu: number;
  /** Its address or name, "" where the report does not say. */
  readonly lock: string;
  readonly owner: string;
  readonly at: Place;
}

const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [
    /bad magic/,
    "its memory does not look like a lock: it was never initialised, or was overwritten or freed",
  ],
  [/lockup/, "it has spun for so long that whoever holds it seems never to release it"],
  [/recursion/, "it takes the lock that it already holds, and waits for itself"],
  [/already unlocked/, "it releases the lock, and nobody holds it: it was released twice, or overwritten"],
  [/wrong owner/, "it releases the lock, and another task holds it"],
  [/wrong CPU/, "it releases the lock on another processor than the one that took it"],
];

export const spinlock: Sort<SpinlockProblem> = {
  name: "spinlock",
  title: head(String.raw`(?:spinlock|rwlock|write-lock)[\w -]*? on CPU#\d+`),
  kinds: ["spinlock"],
  sections: [],
  read,
  words: ({ what, task, cpu, lock, owner, at: place }) => [
    `${nameOf(task)} on processor ${cpu}, with the spinlock ${lock === "" ? "(the report does not say which)" : lock}: ${
      MEANINGS.find(([pattern]) => pattern.test(what))?.[1] ?? what
    }.`,
    owner === "" ? "The report does not say who owns it." : `Its owner, as it says itself: ${owner}.`,
    "",
    `Where: ${at(place) || "the report does not say"}`,
  ],
  graph: ({ what, task, lock, owner, at: place }) =>
    picture(
      "A spinlock used against its rules",
      [nameOf(task), owner],
      [
        { from: nameOf(task), to: lock || "a spinlock", label: [what, at(place)], culprit: true },
        ...(owner === "" || /^<none>/.test(owner)
          ? []
          : [{ from: lock || "a spinlock", to: owner, label: ["owner"], culprit: false }]),
      ],
    ),
};

function read(report: Report): SpinlockProblem {
  const pattern = /^BUG: (?:spinlock|rwlock|write-lock) ?(.*?) on CPU#(\d+), (.*)\/(\d+)/;
  const match = report.need(report.find(pattern), "the task");
  const lock = report.find(/^lock: ([^,]+), \.magic: \S+, \.owner: ([^,]+),/);
  return {
    kind: "spinlock",
    what: match[1] || "bug",
    cpu: Number(match[2]),
    task: { name: match[3]!, id: Number(match[4]) },
    lock: lock?.[1] ?? "",
    owner: lock?.[2] ?? "",
    at: callers(report.backtrace()),
  };
}
