import { expect } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { VfioError, errnoName, errnoOf } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { heldLocks, type Bench, type Card, type DriverCall } from "./card.js";

/** What a test's clients are cancelled with. */
export class Cancelled extends Error {
  override readonly name = "Cancelled";
}

/** A task that can be cancelled. */
export function cancellable(name: string): { task: Task; cancel: () => void } {
  const controller = new AbortController();
  return {
    task: new Task(name, { signal: controller.signal }),
    cancel: () => {
      controller.abort(new Cancelled(name));
    },
  };
}

/** A driver's call that does not return before the test lets it. */
export class Held {
  readonly entered: Promise<void>;
  #enter!: () => void;
  #release!: () => void;
  readonly #released: Promise<void>;

  /** @param obeys it also ends when its signal aborts, as a driver has to; false: a driver that comes late */
  constructor(card: Card, on: DriverCall, obeys: boolean) {
    this.entered = new Promise((resolve) => (this.#enter = resolve));
    this.#released = new Promise((resolve) => (this.#release = resolve));
    card.hook = (call, signal) => {
      if (call !== on) return;
      card.hook = () => undefined; // once
      this.#enter();
      return obeys && signal ? Promise.race([this.#released, aborted(signal)]) : this.#released;
    };
  }

  release(): void {
    this.#release();
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => {
      reject(signal.reason as Error);
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}

/** The errno that a client gets, "cancelled" for its own cancellation, "0" for success. */
export async function outcome(action: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof action === "function" ? action() : action);
    return "0";
  } catch (error) {
    if (error instanceof Cancelled) return "cancelled";
    expect(error instanceof VfioError || error instanceof Error).toBe(true);
    return errnoName(errnoOf(error));
  }
}

/** What holds after every fault, on every path. */
export function expectIntact(benches: readonly Bench[], ...tasks: readonly Task[]): void {
  expect(heldLocks(...benches.map(({ device }) => device))).toEqual([]);
  for (const task of [...tasks, ...benches.map((bench) => bench.task)]) expect(task.holds).toEqual([]);
  for (const { device } of benches)
    if (device.migration) expect(Object.values(MigrationState)).toContain(device.migration.state);
}
