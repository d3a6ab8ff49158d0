import { EXCLUSIVE } from "./access.js";
import { checkCount } from "./count.js";
import { ChannelClosed } from "./errors.js";
import type { Wait } from "./lock.js";
import { arriving, ours, scheduler, type Scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { Unowned } from "./unowned.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

/** `undefined` says that a channel has nothing, so it is no value. */
export type Sendable = string | number | bigint | boolean | symbol | object | null;

class ChannelWaiter<T> extends Waiter {
  constructor(
    task: Task,
    channel: Channel<T & Sendable>,
    options: AcquireOptions | undefined,
    readonly sends: boolean,
    /** What a sender sends, or a receiver has got. */
    public value: T | undefined,
  ) {
    super(task, channel, EXCLUSIVE, 0, options);
  }
}

/**
 * A queue of values between tasks that holds a bounded number of them: a sender waits while it is full, a receiver
 * while it is empty. With a capacity of 0 it holds none, and sender and receiver meet.
 *
 * - First come, first served, on both sides; values are received in the order in which they were sent.
 * - What can be done at once is done without a promise and without an allocation. A value that is sent while a
 *   receiver waits is that receiver's when `send` returns, before the receiver runs; a value that makes room lets the
 *   first sender's into the buffer in the same piece.
 * - `close` ends the sending: those who wait to send fail with ChannelClosed, and their values were not sent. What is
 *   in the buffer can still be received; then receivers get `undefined`.
 * - An abort takes a waiter out of its queue: its value was not sent. A wait that has got its turn before cannot be
 *   aborted any more: no value is lost.
 */
export class Channel<T extends Sendable> extends Unowned {
  /** A ring: `#size` values from `#head` on. */
  readonly #buffer: (T | undefined)[] = [];
  #head = 0;
  #size = 0;
  #closed = false;
  readonly #senders = new WaitQueue<ChannelWaiter<T>>(this);
  readonly #receivers = new WaitQueue<ChannelWaiter<T>>(this);

  /** @param capacity values that it holds: 0 or more. @throws RangeError for another number */
  constructor(
    readonly capacity: number,
    className?: string,
    label?: string,
  ) {
    super(className, label);
    checkCount(capacity, 0, "a channel's capacity");
  }

  /** Values in the buffer. */
  get size(): number {
    scheduler?.touching(this, false);
    return this.#size;
  }

  get closed(): boolean {
    scheduler?.touching(this, false);
    return this.#closed;
  }

  /**
   * Sends a value, and waits while there is no room for it.
   * @throws ChannelClosed if the channel is closed, before or during the wait
   * @throws TypeError for `undefined`
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  send(task: Task, value: T, options?: AcquireOptions): void | Promise<void> {
    checkValue(value);
    return scheduler ? this.#arriveToSend(scheduler, task, value, options) : this.#send(task, value, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToSend(by: Scheduler, task: Task, value: T, options: AcquireOptions | undefined): Promise<void> {
    return arriving(by, () => this.#send(task, value, options), task, this, EXCLUSIVE, options, "send");
  }

  /** Sends a value if that needs no wait. @throws ChannelClosed if the channel is closed */
  trySend(value: T): boolean {
    checkValue(value);
    scheduler?.touching(this, true);
    return this.#deliver(value);
  }

  /**
   * Receives the next value, and waits while there is none; `undefined` once the channel is closed and empty.
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  receive(task: Task, options?: AcquireOptions): T | undefined | Promise<T | undefined> {
    return scheduler ? this.#arriveToReceive(scheduler, task, options) : this.#receive(task, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToReceive(by: Scheduler, task: Task, options: AcquireOptions | undefined): Promise<T | undefined> {
    return arriving(by, () => this.#receive(task, options), task, this, EXCLUSIVE, options, "receive");
  }

  /** Receives the next value if that needs no wait; else `undefined`, whether closed or not. */
  tryReceive(): T | undefined {
    scheduler?.touching(this, true);
    return this.#next();
  }

  /** Nothing is sent any more. Closing it again does nothing. */
  close(): void {
    scheduler?.touching(this, true);
    this.#closed = true;
    for (let next = this.#senders.first; next; next = this.#senders.first)
      next.fail(new ChannelClosed(`${this.className} was closed while ${next.task.name} waited to send`));
    this.#receivers.releaseAll();
  }

  /** Receives until the channel is closed and empty: `for await (const job of jobs.values(task))`. */
  async *values(task: Task, options?: AcquireOptions): AsyncGenerator<T, void, undefined> {
    for (let value = await this.receive(task, options); value !== undefined;) {
      yield value;
      value = await this.receive(task, options);
    }
  }

  /** Senders or receivers: never both. */
  override waiters(): readonly Wait[] {
    return this.#senders.first ? this.#senders.waits : this.#receivers.waits;
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    const { sends } = waiter as ChannelWaiter<T>;
    scheduler?.touching(this, true);
    (sends ? this.#senders : this.#receivers).remove(waiter as ChannelWaiter<T>);
  }

  #send(task: Task, value: T, options: AcquireOptions | undefined): void | Promise<void> {
    if (this.#deliver(value)) return;
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    return this.#senders.enter(new ChannelWaiter(task, this, options, true, value));
  }

  #receive(task: Task, options: AcquireOptions | undefined): T | undefined | Promise<T | undefined> {
    const value = this.#next();
    if (value !== undefined || this.#closed) return value;
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    const waiter = new ChannelWaiter<T>(task, this, options, false, undefined);
    return ours(ours(this.#receivers.enter(waiter)).then(() => waiter.value));
  }

  /** To the first receiver, or into the buffer; false if there is neither. */
  #deliver(value: T): boolean {
    if (this.#closed) throw new ChannelClosed(`${this.className} is closed`);
    const receiver = this.#receivers.first;
    if (receiver) {
      receiver.value = value;
      this.#receivers.release(receiver);
      return true;
    }
    if (this.#size === this.capacity) return false;
    this.#put(value);
    return true;
  }

  /** From the buffer, or from the first sender; undefined if there is neither. */
  #next(): T | undefined {
    const sender = this.#senders.first;
    if (this.#size === 0) {
      if (sender) this.#senders.release(sender);
      return sender?.value;
    }
    const value = this.#buffer[this.#head];
    this.#buffer[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.capacity;
    this.#size--;
    if (sender) {
      this.#put(sender.value!);
      this.#senders.release(sender);
    }
    return value;
  }

  #put(value: T): void {
    this.#buffer[(this.#head + this.#size) % this.capacity] = value;
    this.#size++;
  }
}

function checkValue(value: unknown): void {
  if (value === undefined) throw new TypeError("undefined cannot be sent: it is what an empty channel gives");
}
