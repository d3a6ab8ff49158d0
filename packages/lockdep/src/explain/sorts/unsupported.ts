import { head } from "./sort.js";

/** Reports that stand near lockdep's in logs and are not explained here: it is said plainly what they are about. */
export const UNSUPPORTED: readonly {
  readonly name: string;
  readonly title: RegExp;
  readonly about: string;
}[] = [
  {
    name: "chain-key-collision",
    title: head("chain_key collision"),
    about: "two chains of locks have one key: lockdep's own tables are at odds",
  },
  {
    name: "lockdep-assertion",
    title: /^(DEBUG_(?:LOCKS|RWSEMS)_WARN_ON\(.*\))/,
    about:
      "an assertion inside lockdep or a lock has failed: a lock is used after it was freed, or its memory was overwritten",
  },
  {
    name: "soft-lockup",
    title: /^(?:NMI )?(?:watchdog: )?BUG: (soft lockup - CPU#\d+ stuck for \d+s!)/,
    about:
      "a processor has run kernel code for long without letting another task run: a stack of it follows, and no locks",
  },
  {
    name: "hard-lockup",
    title: /^(?:NMI )?watchdog: (?:BUG: )?(Watchdog detected hard LOCKUP on cpu ?\d+)/i,
    about: "a processor has had its interrupts off for long",
  },
  {
    name: "rcu-stall",
    title: /^(?:rcu: )?INFO: (rcu\S* (?:self-)?detected (?:expedited )?stalls? on CPUs?)/,
    about: "a grace period of RCU does not end: a processor or a task stays in a read-side section",
  },
  {
    name: "lockdep-other",
    title: head(
      String.raw`(?:lock \S+ is not in the state asserted|bad contention detected!|pinned lock .*|RCU lock leaked.*|unlock imbalance.*|deadlock: tasks wait.*|a task has waited for a lock.*)`,
    ),
    about: "a report of another kind about locks",
  },
];
