import { E_ALREADY_LOCKED, E_TIMEOUT } from "./errors.js";
import {
  TAKE,
  type MutexInterface,
  type Request,
  type SemaphoreInterface,
  type Takeable,
  type Ticket,
} from "./types.js";
import { clockInForce } from "../wait-queue.js";
import { acquire, checkWeight, exclusively } from "./weighted-lock.js";

type Sync = MutexInterface | SemaphoreInterface;

/** Requests that wait for longer than `timeout` milliseconds fail with `error`. */
export function withTimeout(mutex: MutexInterface, timeout: number, error?: Error): MutexInterface;
export function withTimeout(
  semaphore: SemaphoreInterface,
  timeout: number,
  error?: Error,
): SemaphoreInterface;
export function withTimeout(sync: Sync, timeout: number, error: Error = E_TIMEOUT): Sync {
  const inner = takeable(sync);
  const take = (request: Request): Promise<Ticket> =>
    // Of two limits, the shorter ends the wait.
    inner[TAKE](
      request.limit && request.limit.timeout <= timeout ? request : { ...request, limit: { timeout, error } },
    );
  return decorate(sync, take, (wait) => limited(wait, timeout, error));
}

/** Requests that would wait fail with `error` instead. */
export function tryAcquire(mutex: MutexInterface, error?: Error): MutexInterface;
export function tryAcquire(semaphore: SemaphoreInterface, error?: Error): SemaphoreInterface;
export function tryAcquire(sync: Sync, error: Error = E_ALREADY_LOCKED): Sync {
  const inner = takeable(sync);
  const take = (request: Request): Promise<Ticket> => inner[TAKE]({ ...request, orElse: error });
  return decorate(sync, take, (wait) => limited(wait, 0, error));
}

/** Fails when the time is over. */
async function limited<T>(promise: Promise<T>, timeout: number, error: Error): Promise<T> {
  const clock = clockInForce();
  let timer: unknown;
  const limit = new Promise<never>((_, reject) => {
    timer = clock.setTimeout(() => reject(error), timeout);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clock.clearTimeout(timer);
  }
}

function decorate(
  sync: Sync,
  take: Takeable[typeof TAKE],
  limit: (wait: Promise<void>) => Promise<void>,
): Sync {
  const lock: Takeable = { [TAKE]: take };
  const common = { ...lock, isLocked: () => sync.isLocked(), cancel: () => sync.cancel() };
  if (!isSemaphore(sync)) {
    return {
      ...common,
      acquire: async (priority = 0) => (await acquire(lock, 1, priority))[1],
      runExclusive: (callback, priority = 0) => exclusively(lock, () => callback(), 1, priority),
      waitForUnlock: (priority) => limit(sync.waitForUnlock(priority)),
      release: () => sync.release(),
    } satisfies MutexInterface & Takeable;
  }
  return {
    ...common,
    acquire: (weight = 1, priority = 0) => {
      checkWeight(weight);
      return acquire(lock, weight, priority);
    },
    runExclusive: (callback, weight = 1, priority = 0) => exclusively(lock, callback, weight, priority),
    waitForUnlock: (weight, priority) => limit(sync.waitForUnlock(weight, priority)),
    release: (weight) => sync.release(weight),
    getValue: () => sync.getValue(),
    setValue: (value) => sync.setValue(value),
  } satisfies SemaphoreInterface & Takeable;
}

function isSemaphore(sync: Sync): sync is SemaphoreInterface {
  return "getValue" in sync;
}

function takeable(sync: Sync): Takeable {
  if (!(TAKE in sync)) throw new TypeError("this is no lock of @vfiokit/lockdep/async-mutex");
  return sync as Sync & Takeable;
}
