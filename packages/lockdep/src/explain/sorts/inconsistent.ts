import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, nameOf } from "../../report/words.js";
import { adviceFor, isLock, takes } from "../kinds.js";
import { callers, type Report } from "../report.js";
import { head, picture, type Sort } from "./sort.js";

/** A lock taken in a context that can interrupt its holders: an interrupt, a soft one, reclaim of memory, an NMI. */
export interface InconsistentState {
  readonly kind: "inconsistent-state";
  readonly task: TaskName;
  readonly lock: LockUse;
  /** As the kernel names them: "IN-HARDIRQ-W", "HARDIRQ-ON-W". */
  readonly before: string;
  readonly now: string;
  readonly context: "HARDIRQ" | "SOFTIRQ" | "RECLAIM" | "NMI";
  readonly registeredAt: Place;
  readonly held: readonly LockUse[];
}

export const inconsistent: Sort<InconsistentState> = {
  name: "inconsistent",
  title: head("inconsistent lock state"),
  kinds: ["inconsistent-state"],
  sections: ["inconsistent", "registered"],
  read,
  words,
  graph: ({ lock, task, now, before, registeredAt }) =>
    picture(
      "Taken where it can be interrupted, and by what interrupts",
      [nameOf(task)],
      [
        { from: nameOf(task), to: lock.class, label: [now, at(lock.at)], culprit: true },
        { from: lock.class, to: lock.class, label: [before, at(registeredAt)], culprit: false },
      ],
    ),
  notes: (_, report) => report.heldNotes(),
};

function read(report: Report): InconsistentState {
  const usage = report.need(
    report.find(/^inconsistent \{([\w -]+)\} -> \{([\w -]+)\} usage/),
    "the line that names both states",
  );
  const task = report.task(/^(\S.*)\/(\d+) \[HC\d.*\] takes:/);
  const lock = report.lockAfter(/\] takes:/, "the lock");
  const registered = report.index(/state was registered at:/);
  const states = usage[1]! + usage[2]!;
  return {
    kind: "inconsistent-state",
    task,
    lock: { ...lock, at: callers(report.backtrace(), lock.at).slice(0, 1) },
    before: usage[1]!,
    now: usage[2]!,
    context: /NMI/.test(states)
      ? "NMI"
      : /RECLAIM/.test(states)
        ? "RECLAIM"
        : /SOFTIRQ/.test(states)
          ? "SOFTIRQ"
          : "HARDIRQ",
    registeredAt: registered < 0 ? [] : callers(report.frames(registered + 1)),
    held: report.held().locks,
  };
}

/** What each context is, how a lock is taken with it shut out and while it can come, and what keeps it out. */
const CONTEXTS = {
  HARDIRQ: {
    name: "an interrupt",
    open: "with interrupts on",
    stop: "the interrupt comes while its own processor holds the lock",
    remedy: (lock: string, kind: string) =>
      `take ${lock} with ${kind}_lock_irqsave() wherever it is not taken in the interrupt itself`,
  },
  SOFTIRQ: {
    name: "a soft interrupt",
    open: "with soft interrupts on",
    stop: "the soft interrupt comes while its own processor holds the lock",
    remedy: (lock: string, kind: string) =>
      `take ${lock} with ${kind}_lock_bh() wherever it is not taken in the soft interrupt itself`,
  },
  RECLAIM: {
    name: "memory reclaim",
    open: "and memory was allocated while it was held, in a way that may enter reclaim",
    stop: "an allocation made while the lock is held enters reclaim",
    remedy: (lock: string) =>
      `allocate with GFP_NOFS, or within memalloc_nofs_save(), while ${lock} is held, or do not take it in reclaim`,
  },
  NMI: {
    name: "an NMI",
    open: "outside of NMIs",
    stop: "the NMI comes while its own processor holds the lock",
    remedy: (lock: string) =>
      `${lock} cannot be taken in an NMI: nothing keeps an NMI out. Try it with a trylock there, or put the work off (irq_work)`,
  },
} as const;

function words({ task, lock, before, now, context, registeredAt }: InconsistentState): string[] {
  const { name, open, stop, remedy } = CONTEXTS[context];
  const where = (place: Place): string => (place.length > 0 ? ` (${at(place)})` : "");
  const inside = (state: string): boolean => state.startsWith("IN-");
  const how = (state: string): string =>
    inside(state) ? (context === "RECLAIM" ? "in memory reclaim" : `in ${name}`) : open;
  const read = (state: string): "read" | "exclusive" => (/-R$/.test(state) ? "read" : "exclusive");
  const lines = [
    `${nameOf(task)} ${takes(lock.class, read(now))} ${how(now)}${where(lock.at)}. Before, somebody did so ${how(before)}${where(registeredAt)}.`,
    `If ${stop}, it waits for what it has interrupted, which never goes on.`,
  ];
  const readers = [now, before].filter((state) => read(state) === "read").length;
  if (readers === 2) lines.push("Both only read: it takes a writer that waits for the lock in between.");
  // Only an rwlock has readers; the one to be shut out is who takes it where it can be interrupted.
  const outside = inside(now) ? before : now;
  const lockKind = readers === 0 ? "spin" : read(outside) === "read" ? "read" : "write";
  const special = isLock(lock.class) ? undefined : adviceFor(lock.class);
  const alternative =
    context === "SOFTIRQ" || context === "HARDIRQ"
      ? ` Locks that sleep cannot be taken in ${name} at all.`
      : "";
  lines.push(
    "",
    `What to do: ${special ?? remedy(lock.class, lockKind)}.${special === undefined ? alternative : ""}`,
  );
  return lines;
}
