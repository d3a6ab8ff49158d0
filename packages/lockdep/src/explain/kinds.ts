import type { AccessName, Place } from "../problem.js";
import { functionOf } from "./frames.js";

/**
 * Some classes of lockdep's are no locks: waiting for a work, allocating memory, a section of RCU. They are annotated
 * as locks, and it would be untrue to say that somebody "takes" them.
 */
interface Kind {
  readonly class: RegExp;
  /** "… while it holds X". */
  readonly holds: (name: string) => string;
  /** "somebody …". */
  readonly takes: (name: string, at: Place) => string;
  /** Nobody ever waits here. */
  readonly neverWaits?: true;
  readonly advice?: string;
}

const through = (at: Place, pattern: RegExp): boolean => at.some((frame) => pattern.test(functionOf(frame)));
const inner = (name: string): string => /^\(\w+\)\(?(.*?)\)?$/.exec(name)?.[1] ?? name;

const KINDS: readonly Kind[] = [
  {
    class: /^fs_reclaim$/,
    holds: () => "is in memory reclaim (fs_reclaim)",
    takes: () => "allocates memory, which may enter reclaim (fs_reclaim)",
    advice:
      "allocate with GFP_NOFS, GFP_NOIO or GFP_ATOMIC there, within memalloc_nofs_save(), or beforehand",
  },
  {
    class: /^mmu_notifier_invalidate_range_start$/,
    holds: () => "is in an MMU notifier (mmu_notifier_invalidate_range_start)",
    takes: () => "may call MMU notifiers (mmu_notifier_invalidate_range_start)",
  },
  {
    class: /^\(wq_completion\)/,
    holds: (name) => `runs a work of the workqueue ${inner(name)}`,
    takes: (name, at) =>
      through(at, /^process_one_work$/) && !through(at, /flush|drain|destroy/)
        ? `runs a work of the workqueue ${inner(name)}`
        : `waits until the workqueue ${inner(name)} is done`,
    advice: "do not wait for the work while holding what it takes; wait after the release",
  },
  {
    class: /^\(work_completion\)/,
    holds: (name) => `runs as the work ${inner(name)}`,
    takes: (name, at) =>
      through(at, /^process_one_work$/) && !through(at, /flush|cancel|drain/)
        ? `runs as the work ${inner(name)}`
        : `waits until the work ${inner(name)} has ended`,
    advice: "do not wait for the work while holding what it takes; wait after the release",
  },
  {
    class: /^\(completion\)/,
    holds: (name) => `is what completes ${inner(name)}`,
    takes: (name) => `waits for the completion ${inner(name)}`,
    advice: "do not wait for the completion while holding what its other side takes",
  },
  {
    class: /^\(&?.*(?:timer|tmr)\)$/i,
    holds: (name) => `runs as the timer ${name}`,
    takes: (name, at) =>
      through(at, /^(?:call_timer_fn|run_timer_softirq|expire_timers)$/)
        ? `runs as the timer ${name}`
        : `waits until the timer ${name} has ended`,
  },
  {
    class: /^(?:kn->active|s_active)(?:#\d+)?$/,
    holds: (name) => `is inside an operation on a sysfs file (${name})`,
    takes: (name, at) =>
      through(at, /kernfs_drain|kernfs_remove|__kernfs_remove/)
        ? `removes a sysfs file, which waits until nobody is inside it (${name})`
        : `enters a sysfs file (${name})`,
  },
  {
    class: /^rcu_read_lock(?:_bh|_sched|_trace)?$/,
    holds: (name) => `is inside ${name}`,
    takes: (name) => `enters ${name}`,
    neverWaits: true,
    advice: "nothing there may sleep or wait: do it before or after the section",
  },
  {
    class: /^\(?rcu_callback\)?$/,
    holds: () => "runs as a callback of RCU",
    takes: () => "runs as a callback of RCU",
    neverWaits: true,
  },
  {
    class: /srcu/,
    holds: (name) => `is inside a section of SRCU (${name})`,
    takes: (name, at) =>
      through(at, /synchronize_srcu|lock_sync/)
        ? `waits until all readers of SRCU are gone (${name})`
        : `enters a section of SRCU (${name})`,
  },
];

const kindOf = (lockClass: string): Kind | undefined => KINDS.find((kind) => kind.class.test(lockClass));

/** Is it a lock that somebody can wait for? */
export const canWait = (lockClass: string): boolean => kindOf(lockClass)?.neverWaits !== true;
export const isLock = (lockClass: string): boolean => kindOf(lockClass) === undefined;
export const adviceFor = (lockClass: string): string | undefined => kindOf(lockClass)?.advice;

/** "takes a", "reads a", "waits until the work w has ended". */
export function takes(lockClass: string, access: AccessName = "exclusive", at: Place = []): string {
  const kind = kindOf(lockClass);
  if (kind) return kind.takes(lockClass, at);
  return access === "exclusive" ? `takes ${lockClass}` : `reads ${lockClass}`;
}

/** "holds a", "is in memory reclaim (fs_reclaim)". */
export const holds = (lockClass: string): string =>
  kindOf(lockClass)?.holds(lockClass) ?? `holds ${lockClass}`;
