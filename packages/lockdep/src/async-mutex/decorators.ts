import { ambientTask } from "../node/index.js";
import { Task } from "../task.js";
import { E_ALREADY_LOCKED, E_TIMEOUT } from "./errors.js";
import { exclusively } from "./semaphore.js";
import {
  TAKE,
  type MutexInterface,
  type Releaser,
  type Request,
  type SemaphoreInterface,
  type Takeable,
} from "./types.js";

type Sync = MutexInterface | SemaphoreInterface;
type Ticket = [value: number, release: Releaser];

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
    limited(inner[TAKE](request), timeout, error, ([, release]) => release());
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

/** Fails when the time is over; what comes later goes `back`. */
async function limited<T>(
  promise: Promise<T>,
  timeout: number,
  error: Error,
  back: (value: T) => void = () => undefined,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(error), timeout);
  });
  limit.catch(() => promise.then(back, () => undefined));
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function decorate(
  sync: Sync,
  take: Takeable[typeof TAKE],
  limit: (wait: Promise<void>) => Promise<void>,
): Sync {
  const lock: Takeable = { [TAKE]: take };
  const ask = (weight: number, priority: number): Promise<Ticket> =>
    take({ task: ambientTask() ?? new Task("acquire()"), weight, priority });
  const common = { ...lock, isLocked: () => sync.isLocked(), cancel: () => sync.cancel() };
  if (!isSemaphore(sync)) {
    return {
      ...common,
      acquire: async (priority = 0) => (await ask(1, priority))[1],
      runExclusive: (callback, priority = 0) => exclusively(lock, () => callback(), 1, priority),
      waitForUnlock: (priority) => limit(sync.waitForUnlock(priority)),
      release: () => sync.release(),
    } satisfies MutexInterface & Takeable;
  }
  return {
    ...common,
    acquire: (weight = 1, priority = 0) => ask(weight, priority),
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
