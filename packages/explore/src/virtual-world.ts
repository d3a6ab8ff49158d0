import type { VirtualClock } from "./virtual-clock.js";
import { unhooked } from "./unhooked.js";
import { VirtualRandom } from "./virtual-random.js";
import { abortAfter, later, startTimer, virtualTimer } from "./virtual-timers.js";

/** The explored program, as far as the world is concerned that it runs in. */
export interface Inhabitant {
  /** It is the program that calls just now, and no other code of this process. */
  calls(): boolean;
  readonly clock: VirtualClock;
  /** By which part of the program: what it draws does not depend on what others draw. */
  caller(): string;
  /** It has got something that is virtual. */
  rely(what: string): void;
  /** It does what is not explored. */
  unknown(what: string): void;
  /** It looks whether the signal is aborted. */
  lookAt(signal: AbortSignal): void;
  /** If it is the program that calls: it has begun what the world outside ends, and what no hook tells of. */
  outside(): void;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Replaces methods, and puts back what was there. */
interface Patch {
  readonly object: object;
  readonly key: string;
  readonly before: PropertyDescriptor | undefined;
  readonly value: unknown;
  /** Instead of a value. */
  readonly get?: () => unknown;
}

/** Where virtual time begins. */
const EPOCH = Date.UTC(2020, 0, 1);

const [TIME, TIMERS, RANDOM_NUMBERS] = [
  "time",
  "timers (each may be late, those of one task and delay fire in order)",
  "random numbers",
] as const;

let inhabitant: Inhabitant | undefined;
let numbers: VirtualRandom | undefined;
const patches: Patch[] = [];
let syncExports: (() => void) | undefined;

/** The program that runs from now on. Undefined: none. */
export function inhabit(next: Inhabitant | undefined): void {
  inhabitant = next;
  numbers = next && new VirtualRandom(next);
}

/**
 * Makes random numbers, times and timers virtual for the explored program: everybody else's calls go where they went.
 * @returns what puts the world right again
 */
export function makeVirtual(): () => void {
  if (patches.length === 0) patchAll();
  users++;
  return () => {
    users--;
    if (users > 0) return;
    // Explorations often come one after the other, and this takes time that would be lost between two of them.
    realSetImmediate?.(() => {
      if (users === 0) restoreAll();
    });
    if (!realSetImmediate) restoreAll();
  };
}
let users = 0;

interface Platform {
  readonly process?: {
    getBuiltinModule?(name: string): Record<string, unknown> | undefined;
    readonly hrtime?: object;
  };
  readonly setImmediate?: (callback: () => void) => unknown;
  readonly crypto?: object;
}
const platform = globalThis as unknown as Platform;
const realSetImmediate = platform.setImmediate;
const RealDate = Date;

function patchAll(): void {
  patchRandom(Math, ["random"]);
  patch(Date, "now", TIME, () => EPOCH + now());
  patch(performance, "now", TIME, () => now());
  replace(globalThis, "Date", virtualDate());
  patchFormats();
  if (platform.crypto) patchRandom(platform.crypto, ["getRandomValues", "randomUUID"]);
  patchTimers(globalThis);
  const { process } = platform;
  if (process?.hrtime) {
    patch(process, "hrtime", TIME, (before?: unknown) => elapsed(before as [number, number] | undefined));
    patch(process.hrtime, "bigint", TIME, () => BigInt(Math.round(now() * 1e6)));
  }
  const builtin = (name: string): Record<string, unknown> | undefined => process?.getBuiltinModule?.(name);
  const crypto = builtin("node:crypto");
  if (crypto)
    patchRandom(crypto, ["getRandomValues", "randomUUID", "randomBytes", "randomFillSync", "randomInt"]);
  const timers = builtin("node:timers");
  if (timers) patchTimers(timers);
  const promises = builtin("node:timers/promises");
  if (promises) patchTimerPromises(promises);
  for (const [object, key] of unhooked()) patchUnhooked(object, key);
  patch(AbortSignal, "timeout", TIMERS, (delay) => abortAfter(inhabitant!.clock, delay));
  // What was imported by name is a copy.
  syncExports = builtin("node:module")?.["syncBuiltinESMExports"] as typeof syncExports;
  syncExports?.();
}

function restoreAll(): void {
  for (const { object, key, before, value, get } of patches.splice(0).reverse()) {
    // Somebody may have replaced it, too: fake timers of a test, for instance.
    const present = Object.getOwnPropertyDescriptor(object, key);
    if (get ? present?.get !== get : present?.value !== value) continue;
    if (before) Object.defineProperty(object, key, before);
    else Reflect.deleteProperty(object, key);
  }
  syncExports?.();
}

function replace(object: object, key: string, value: unknown): void {
  const before = Object.getOwnPropertyDescriptor(object, key);
  if (before?.configurable === false) return;
  Object.defineProperty(object, key, {
    configurable: true,
    writable: true,
    enumerable: before?.enumerable ?? true,
    value,
  });
  patches.push({ object, key, before, value });
}

/**
 * @param what of the program's it makes virtual
 * @param virtual what the explored program gets
 */
function patch(object: object, key: string, what: string, virtual: Method): void {
  const real = (object as Record<string, unknown>)[key];
  if (typeof real !== "function") return;
  const patched = function (this: unknown, ...args: unknown[]): unknown {
    if (!inhabitant?.calls()) return Reflect.apply(real, this, args) as unknown;
    inhabitant.rely(what);
    return virtual.apply(this, args);
  };
  // util.promisify asks timers how, for instance.
  Object.defineProperties(patched, Object.getOwnPropertyDescriptors(real));
  replace(object, key, patched);
}

function patchUnhooked(object: object, key: string): void {
  const real = (object as Record<string, unknown>)[key];
  if (typeof real !== "function") return;
  replace(object, key, function (this: unknown, ...args: unknown[]): unknown {
    inhabitant?.outside();
    return Reflect.apply(real, this, args) as unknown;
  });
}

function patchRandom(object: object, names: readonly (keyof VirtualRandom)[]): void {
  for (const name of names)
    patch(object, name, RANDOM_NUMBERS, (...args) =>
      (numbers as unknown as Record<string, Method>)[name]!(...args),
    );
}

function now(): number {
  return inhabitant!.clock.now();
}

function elapsed(before: [number, number] | undefined): [number, number] {
  const nanoseconds = Math.round(now() * 1e6) - (before ? before[0] * 1e9 + before[1] : 0);
  return [Math.floor(nanoseconds / 1e9), nanoseconds % 1e9];
}

/** A Date without arguments is now. */
function virtualDate(): DateConstructor {
  const isNow = (args: readonly unknown[]): boolean => args.length === 0 && (inhabitant?.calls() ?? false);
  const virtual = (): number => {
    inhabitant!.rely(TIME);
    return EPOCH + now();
  };
  return new Proxy(RealDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, isNow(args) ? [virtual()] : args, newTarget) as object,
    apply: (target, self, args) =>
      isNow([]) ? new RealDate(virtual()).toString() : (Reflect.apply(target, self, args) as unknown),
  });
}

/** What Intl formats when it is given no time is now. */
function patchFormats(): void {
  const { prototype } = Intl.DateTimeFormat;
  const time = (date: unknown): unknown => {
    if (date !== undefined || !inhabitant?.calls()) return date;
    inhabitant.rely(TIME);
    return EPOCH + now();
  };
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its format
  const { formatToParts } = prototype;
  replace(prototype, "formatToParts", function (this: Intl.DateTimeFormat, date?: Date | number) {
    return formatToParts.call(this, time(date) as Date);
  });
  const format = Object.getOwnPropertyDescriptor(prototype, "format")!;
  const get = function (this: Intl.DateTimeFormat) {
    const bound = format.get!.call(this) as (date?: unknown) => string;
    return (date?: unknown) => bound(time(date));
  };
  Object.defineProperty(prototype, "format", { ...format, get });
  patches.push({ object: prototype, key: "format", before: format, value: undefined, get });
}

// Timers: of the virtual clock.

function patchTimers(object: object): void {
  const start = (delay: unknown, list: string | undefined, callback: unknown, args: unknown[]): unknown =>
    startTimer(inhabitant!.clock, () => (callback as (...args: unknown[]) => void)(...args), delay, list);
  patch(object, "setTimeout", TIMERS, (callback, delay, ...args) => start(delay, undefined, callback, args));
  patch(object, "setImmediate", TIMERS, (callback, ...args) => start(0, "immediates", callback, args));
  patch(object, "setInterval", TIMERS, (callback, delay, ...args) => {
    inhabitant!.unknown("setInterval is not explored, but for its first time: use x.sleep() in a loop");
    return start(delay, undefined, callback, args);
  });
  for (const name of ["clearTimeout", "clearInterval", "clearImmediate"]) {
    const real = (object as Record<string, unknown>)[name];
    if (typeof real !== "function") continue;
    replace(object, name, (handle: unknown) => {
      const timer = inhabitant?.calls()
        ? virtualTimer(inhabitant.clock, handle)
        : virtualTimer(undefined, handle);
      if (timer) timer.close();
      else Reflect.apply(real, undefined, [handle]);
    });
  }
}

function patchTimerPromises(promises: Record<string, unknown>): void {
  const wait = (delay: unknown, value: unknown, options: unknown, list?: string): Promise<unknown> =>
    later(inhabitant!, delay, value, options as { readonly signal?: AbortSignal } | undefined, list);
  patch(promises, "setTimeout", TIMERS, (delay, value, options) => wait(delay, value, options));
  patch(promises, "setImmediate", TIMERS, (value, options) => wait(0, value, options, "immediates"));
  patch(promises, "setInterval", TIMERS, (delay, value, options) => {
    inhabitant!.unknown("setInterval is not explored as it is: use x.sleep() in a loop");
    return (async function* () {
      for (;;) yield await wait(delay, value, options);
    })();
  });
  const { scheduler } = promises;
  if (typeof scheduler !== "object" || scheduler === null) return;
  const { prototype } = (scheduler as { constructor: { prototype: object } }).constructor;
  patch(prototype, "wait", TIMERS, (delay, options) => wait(delay, undefined, options));
  patch(prototype, "yield", TIMERS, () => wait(0, undefined, undefined, "immediates"));
}
