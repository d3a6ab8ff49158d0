/// <reference types="node" />
/**
 * `node --import @vfiokit/lockdep/register app.js`: the validator is on, and each incoming HTTP request, timer and
 * event handler is a task, in a program that names none.
 *
 * LOCKDEP=warn (the default), throw or off; LOCKDEP_WAIT_TIMEOUT=milliseconds.
 */
import { subscribe } from "node:diagnostics_channel";
import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { lockdep, type Mode } from "../lockdep.js";
import { storage } from "../node/acquisition.js";
import { runTask } from "../node/index.js";
import { Task } from "../task.js";

type Callback = (this: unknown, ...args: unknown[]) => unknown;

/** What a timer or an event calls is nobody's child: whoever set it up does not await it. */
const DETACHED = { detached: true };

function asTask(name: string, self: unknown, callback: Callback, args: unknown[]): unknown {
  return runTask(
    callback.name === "" ? name : `${name} ${callback.name}`,
    () => callback.apply(self, args),
    DETACHED,
  );
}

/** Each request is a task. It has no end: handlers may go on after the response. */
function traceRequests(): void {
  subscribe("http.server.request.start", (message) => {
    const { request } = message as { request: IncomingMessage };
    // Published just before "request" is emitted, in the same context: the handlers run in the task.
    storage.enterWith(new Task(`${request.method ?? "?"} ${request.url ?? ""}`.replace(/\?.*/, "")));
  });
}

function traceTimers(): void {
  for (const name of ["setTimeout", "setInterval", "setImmediate"] as const) {
    const original = globalThis[name] as unknown as Callback;
    const traced = function (this: unknown, callback: unknown, ...rest: unknown[]): unknown {
      if (typeof callback !== "function") return original.call(this, callback, ...rest);
      return original.call(
        this,
        function (this: unknown, ...args: unknown[]) {
          return asTask(name, this, callback as Callback, args);
        },
        ...rest,
      );
    };
    // With what hangs on it: util.promisify's own version, for one.
    Object.defineProperties(traced, Object.getOwnPropertyDescriptors(original));
    (globalThis as Record<string, unknown>)[name] = traced;
  }
}

/** A handler that runs where no task is gets one; elsewhere it is part of what the emitter's task does. */
function traceEvents(): void {
  // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with its emitter below
  const emit = EventEmitter.prototype.emit as (
    this: EventEmitter,
    event: string | symbol,
    ...args: unknown[]
  ) => boolean;
  EventEmitter.prototype.emit = function (
    this: EventEmitter,
    event: string | symbol,
    ...args: unknown[]
  ): boolean {
    if (storage.getStore() !== undefined || this.listenerCount(event) === 0)
      return emit.call(this, event, ...args);
    // Its handlers may be async, and nobody tells when they are done: the task has no end.
    return storage.run(new Task(`on ${String(event)}`), () => emit.call(this, event, ...args));
  };
}

const mode = process.env["LOCKDEP"] ?? "warn";
if (mode !== "warn" && mode !== "throw" && mode !== "off")
  throw new RangeError(`LOCKDEP="${mode}": warn, throw or off`);
const waitTimeout = Number(process.env["LOCKDEP_WAIT_TIMEOUT"] ?? 0);
if (!(waitTimeout >= 0))
  throw new RangeError(
    `LOCKDEP_WAIT_TIMEOUT="${process.env["LOCKDEP_WAIT_TIMEOUT"] ?? ""}": milliseconds, 0 for never`,
  );
if (mode !== "off") {
  lockdep.configure({ mode: mode satisfies Mode, waitTimeout });
  traceRequests();
  traceTimers();
  traceEvents();
}
