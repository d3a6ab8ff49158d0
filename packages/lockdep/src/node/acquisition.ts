/// <reference types="node" />
import { AsyncLocalStorage } from "node:async_hooks";
import { useContext } from "../context.js";
import { reportUnfinished } from "../lockdep.js";
import { observer } from "../observer.js";
import { Task } from "../task.js";

// Nothing can happen any more: whoever waits now waits for ever.
process.on("beforeExit", reportUnfinished);

/** The task that is running, or what its code has acquired last without naming a task. */
export const storage = new AsyncLocalStorage<Task>();

useContext({ running, run: (task, body) => storage.run(task, body) });

/**
 * What code that names no task holds by one `acquire()`: a task of its own, whose parent is what the same code held
 * before. So a line of code has a chain of locks though it never says who it is.
 *
 * Which code is the same? An acquisition belongs to the async context that asks for it, from that call on, as
 * `AsyncLocalStorage.enterWith` has it: to the rest of the function, to what it awaits and calls later, and to who
 * called it. Branches of a `Promise.all` begin in one context, though: the second is called where the first has
 * already asked. So a request that has no answer yet is nobody's past: who asks meanwhile is a sibling, not a
 * descendant, and gets a context of its own. So are the contexts apart that fork after an acquisition: each one's
 * requests build upon what was held at the fork, and not upon one another.
 */
export class Acquisition extends Task {
  override readonly loose = true;
  /** The code that asked goes on, with the lock. */
  answered = false;

  /** The task that ends some day, unless this is all there is. */
  get around(): Task | undefined {
    return this.parent instanceof Acquisition ? this.parent.around : this.parent;
  }

  /** What the code that runs here holds: this acquisition, if it has been answered and is not released yet. */
  get nearest(): Task | undefined {
    if (this.answered && this.records.length > 0) return this;
    return this.parent instanceof Acquisition ? this.parent.nearest : this.parent;
  }

  /** It holds nothing any more, or has never got anything. */
  leave(): void {
    this.parent?.branches?.delete(this);
  }
}

/** Makes a request of the running code. While nobody watches, it belongs to nothing. */
export function beginAcquisition(name: string): Acquisition {
  if (!observer) return new Acquisition(name);
  let parent = running();
  // A context outlives its task where it is kept by a timer, say, or a pool: that is nobody's code any more.
  if (parent?.over) parent = undefined;
  const alone = parent !== undefined && !parent.branches?.size;
  const acquisition = new Acquisition(parent?.name ?? name, {
    parent,
    signal: parent?.signal,
    // One after the other they are one line of code, and reports say so.
    ...(alone && parent ? { id: parent.id } : {}),
  });
  if (parent) (parent.branches ??= new Set()).add(acquisition);
  storage.enterWith(acquisition);
  return acquisition;
}

/** What whoever runs now builds upon: its task, or what it has acquired and not released. */
export function running(): Task | undefined {
  const at = storage.getStore();
  return at instanceof Acquisition ? at.nearest : at;
}
