import type { PlainFields } from "./assumptions.js";
import type { ExecutedEvent } from "./event.js";
import { Footprint } from "./footprint.js";
import { isTaken } from "./mutexes.js";
import type { Needs } from "./needs.js";
import type { Pending, Thread } from "./thread.js";
import { CLOCK } from "./virtual-clock.js";

/** The events of an execution, and what the one under way has done so far. Before the first, that is the set-up. */
export class EventLog {
  readonly events: ExecutedEvent[] = [];
  /** At the end, what threads would do if they were not blocked for ever. */
  readonly blocked: ExecutedEvent[] = [];
  /** The event under way has made tasks that can begin now. */
  begets = false;
  #footprint = new Footprint();
  #released = new Map<string, number[]>();
  #stopped: ExecutedEvent[] = [];

  constructor(
    private readonly needs: Needs,
    private readonly plainFields: PlainFields,
  ) {}

  /** The event under way: -1 in the set-up. */
  get at(): number {
    return this.events.length - 1;
  }

  /** What the event under way has touched. */
  get touched(): ReadonlyMap<string, boolean> {
    return this.#footprint.touched;
  }

  /** Tasks may share what nobody sees. Who shares a promise has broken the promise to share nothing. */
  get sharesAnything(): boolean {
    return this.plainFields === "conflict" || this.needs.gaps;
  }

  touch(name: string, writes: boolean): void {
    this.#footprint.add(name, writes);
  }

  touchEverything(): void {
    this.#footprint.addEverything();
  }

  /** @param fields the plain fields that the thread uses until its next point. Undefined: any that tasks may share */
  goesOn(fields: readonly string[] | undefined): void {
    if (fields ?? this.sharesAnything) this.#footprint.addFields(fields);
  }

  /** Lets go what has kept others from going on since that event. */
  release(what: string, since: number): void {
    this.#released.set(what, [...(this.#released.get(what) ?? []), since]);
  }

  /** Stops the thread's timer. */
  stop(thread: Thread, pending: Pending): void {
    this.#stopped.push(this.#blockedEvent(thread, pending));
  }

  /** The thread goes on from where it was: the next event is under way. */
  begin(thread: Thread, pending: Pending): ExecutedEvent {
    this.#footprint = new Footprint();
    this.#released = new Map();
    this.#stopped = [];
    this.begets = false;
    const event = this.#eventOf(thread, pending);
    this.events.push(event);
    return event;
  }

  /** The event is over. */
  end(thread: Thread, pending: Pending): void {
    this.#widen(thread, pending);
    thread.events++;
  }

  /**
   * What an invariant looks at can change only by an event that writes some of it. Those events do not commute with
   * each other, since it must hold between them too.
   */
  check(invariant: () => void): void {
    const event = this.#footprint;
    this.#footprint = new Footprint();
    if (this.sharesAnything) this.#footprint.addFields(undefined);
    invariant();
    if (event.conflictsWith(this.#footprint)) event.merge(this.#footprint);
    this.#footprint = event;
  }

  /** The execution is over, and the thread has not gone on. */
  block(thread: Thread, pending: Pending): void {
    this.blocked.push(this.#blockedEvent(thread, pending));
  }

  /** The same, where a bound has ended it: what the thread would have done next is not known. */
  cut(thread: Thread, pending: Pending): void {
    const event = this.#blockedEvent(thread, pending);
    const footprint = Footprint.of(event.footprint.toData());
    footprint.addEverything();
    this.blocked.push({ ...event, footprint });
  }

  /** What a thread would do next, that will not. */
  #blockedEvent(thread: Thread, pending: Pending): ExecutedEvent {
    const before = this.#footprint;
    this.#footprint = new Footprint();
    const event = this.#eventOf(thread, pending);
    this.#widen(thread, pending);
    this.#footprint = before;
    return { ...event, took: pending.arrival?.key ?? CLOCK, released: new Map(), stopped: [] };
  }

  #eventOf(thread: Thread, { label, touches, arrival, joins, deadline, enabledBy }: Pending): ExecutedEvent {
    if (touches) this.#footprint.add(touches.key, touches.writes);
    const isFree = arrival?.detail === 0 && !isTaken(arrival.lock);
    return {
      thread: thread.key,
      label,
      footprint: this.#footprint,
      enabledBy: joins ? [...enabledBy, joins.lastEvent] : enabledBy,
      released: this.#released,
      took: deadline !== undefined ? CLOCK : isFree ? arrival.key : undefined,
      timer: deadline !== undefined,
      stopped: this.#stopped,
    };
  }

  /** What it did in other executions it may do in this one as well. */
  #widen(thread: Thread, { label, touches }: Pending): void {
    this.#footprint.seal();
    const event = `${thread.key} ${thread.events} ${label}`;
    this.needs.footprints.widen(event, this.#footprint, touches?.key);
  }
}
