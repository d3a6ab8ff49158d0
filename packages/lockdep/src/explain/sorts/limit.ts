import type { Place, TaskName } from "../../problem.js";
import { at } from "../../report/words.js";
import { callers, type Report } from "../report.js";
import { picture, type Sort } from "./sort.js";

/** Lockdep has used up one of its tables, or cannot know a lock: it is off from there on. */
export interface KernelLimitProblem {
  readonly kind: "kernel-limit";
  /** "MAX_LOCKDEP_KEYS", or "key" for a lock whose key is not static. */
  readonly what: string;
  readonly at: Place;
  readonly task: TaskName | undefined;
}

const TABLES: Readonly<Record<string, readonly [string, string]>> = {
  MAX_LOCKDEP_KEYS: [
    "classes of locks",
    "look in /proc/lockdep for a class that is there thousands of times: a lock initialised with a key that is made anew each time, or a module loaded again and again",
  ],
  MAX_LOCKDEP_ENTRIES: [
    "dependencies between classes",
    "raise CONFIG_LOCKDEP_BITS, or split fewer classes (/proc/lockdep_stats has the counts)",
  ],
  MAX_LOCKDEP_CHAINS: ["chains of locks held", "raise CONFIG_LOCKDEP_CHAINS_BITS"],
  MAX_LOCKDEP_CHAIN_HLOCKS: ["locks in chains", "raise CONFIG_LOCKDEP_CHAINS_BITS"],
  MAX_STACK_TRACE_ENTRIES: ["stored stacks", "raise CONFIG_LOCKDEP_STACK_TRACE_BITS"],
  MAX_LOCK_DEPTH: [
    "locks that one task holds at a time (48)",
    "look for a loop that takes a lock for each of many objects; one outer lock and nest_lock make them count as one",
  ],
  MAX_LOCKDEP_SUBCLASSES: [
    "subclasses of a class (8)",
    "use fewer, or classes of their own (lockdep_set_class)",
  ],
  key: [
    "",
    "initialise the lock (spin_lock_init, mutex_init, …) before it is used; if it was, its memory was overwritten; if it is in dynamic memory and has no initialiser, register a key (lockdep_register_key)",
  ],
};

export const limit: Sort<KernelLimitProblem> = {
  name: "limit",
  title: /^(?:\[ )?BUG: ((?:MAX_LOCK\w*|MAX_STACK_TRACE_ENTRIES) too low!|looking up invalid subclass: \d+)/,
  kinds: ["kernel-limit"],
  sections: [],
  read: (report) => read(report, report.find(/MAX_\w+/)?.[0] ?? "MAX_LOCKDEP_SUBCLASSES"),
  words: ({ what, at: place }) => {
    const [name, remedy] = TABLES[what] ?? [`entries (${what})`, "look at /proc/lockdep_stats"];
    const why =
      what === "key"
        ? "A lock is taken that was never initialised, or whose class key is not static: lockdep cannot tell what class it is of."
        : `The bound of ${name} is reached (${what}).`;
    return [
      `${why} Lockdep is off from here on: no later report of it does not mean that all is well. No deadlock was found.`,
      "",
      `Where: ${at(place) || "the report does not say"}`,
      "",
      `What to do: ${remedy}.`,
    ];
  },
  graph: ({ what, at: place }) =>
    picture(
      "Lockdep is off from here on",
      [],
      [{ from: at(place) || "lockdep", to: what, label: ["reaches the bound"], culprit: true }],
    ),
};

export const nonStaticKey: Sort<KernelLimitProblem> = {
  ...limit,
  name: "non-static-key",
  title: /^INFO: (trying to register non-static key)/,
  kinds: [],
  read: (report) => read(report, "key"),
};

function read(report: Report, what: string): KernelLimitProblem {
  const task = report.find(/^CPU: \d+ (?:UID: \d+ )?PID: (\d+) Comm: (\S+)/);
  const stack = report.backtrace();
  const first = stack.findIndex(
    (frame) =>
      !/^(?:dump_stack|show_stack|dump_backtrace|_*print_|save_trace|add_\w*chain|assign_lock_key|look_up_lock_class|_*show_\w+|unwind)/.test(
        frame.fn,
      ),
  );
  return {
    kind: "kernel-limit",
    what,
    at: callers(first < 0 ? [] : stack.slice(first)),
    task: task && { name: task[2]!, id: Number(task[1]) },
  };
}
