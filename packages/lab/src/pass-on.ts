import type { LockObserver } from "@vfiokit/lockdep/hooks";

/** An observer that tells `next` everything: to be spread into one that listens in on some of it. */
export function passOn(next: LockObserver | undefined): LockObserver {
  return {
    acquire: (...args) => next?.acquire(...args),
    contended: (waiter) => next?.contended(waiter),
    abandoned: (waiter) => next?.abandoned(waiter),
    acquired: (hold) => next?.acquired(hold),
    downgraded: (hold) => next?.downgraded(hold),
    released: (hold, wasLast) => next?.released(hold, wasLast),
    badUnlock: (task, lock) => next?.badUnlock(task, lock),
    recursion: (...args) => next?.recursion(...args),
    ended: (task) => next?.ended(task),
  };
}
