import type { Lock, Task, Waiter } from "@vfiokit/lockdep";
import type { Detail } from "./needs.js";

/** A place where a task stopped, and how it goes on. */
export interface Pending {
  readonly label: string;
  /** Events without which it would not be here. */
  readonly enabledBy: readonly number[];
  /** The lock that it is about to take. */
  readonly arrival?: Arrival;
  /** What going on touches by itself. */
  readonly touches?: { readonly key: string; readonly writes: boolean };
  /** The plain fields that what follows uses. Undefined: any. */
  readonly fields?: readonly string[];
  /** Of a timer, as virtual time: it fires when no other is due before. */
  readonly deadline?: number;
  /** Of a timer: the event that set it. */
  readonly setBy?: number;
  /** The thread that it waits for. */
  readonly joins?: Thread;
  go(): void;
}

export interface Arrival {
  readonly task: Task;
  readonly lock: Lock;
  readonly key: string;
  readonly detail: Detail;
}

/** What follows an `await` that is over. */
export interface Gap {
  /** The event in which the promise settled. */
  readonly enabledBy: number;
  go(): void;
}

/** A line of execution: a task of the exploration, a task that the program made for itself, or a timer. */
export interface Thread {
  /** Whose code made it. */
  readonly parent: Thread | undefined;
  /** The same in every execution that creates it in the same way. */
  readonly key: string;
  readonly name: string;
  readonly task: Task | undefined;
  /** It was started here, and has to end; what the program made for itself ends with who uses it. */
  mustEnd: boolean;
  ended: boolean;
  pending: Pending | undefined;
  /** In a lock's queue. */
  waiting: Waiter | undefined;
  /** What follows awaits of promises that have settled, first come first. */
  readonly gaps: Gap[];
  /** The plain fields that it uses between its last point and the next. Undefined: any. */
  fields: readonly string[] | undefined;
  /** It awaits something that is no scheduling point: a promise of another task's, for instance. */
  adrift: boolean;
  children: number;
  /** How many events it has had. */
  events: number;
  /** The event in which it ended. */
  lastEvent: number;
}
