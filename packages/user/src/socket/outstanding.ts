import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import { Command, Header, HeaderFlags, type CommandName } from "../wire/index.js";
import { asVfioError, ReplyError, protocolError } from "./errors.js";

/** How long to wait for a reply. */
export interface CallOptions {
  /** Milliseconds until the command is given up with ETIMEDOUT; Infinity: never. */
  readonly timeoutMs?: number | undefined;
  /** Gives the command up. The server may carry it out all the same. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Turns a successful reply into the command's result. `message` is the receive buffer: copy what must stay.
 * Descriptors that are left in `fds` are closed.
 */
export type TakeReply<T> = (message: Uint8Array, view: DataView, fds: Fd[]) => T;

interface Waiting {
  readonly command: CommandName;
  readonly take: TakeReply<unknown>;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
  readonly timeoutMs: number;
  readonly forget: (() => void) | undefined;
  /** Given up by its caller. The id stays taken until the reply comes, which nobody wants any more. */
  abandoned: boolean;
}

/** Ids of messages have 16 bits. */
const ID_END = 0x1_0000;

/** Commands that were sent and wait for their replies. */
export class Outstanding {
  readonly #waiting = new Map<number, Waiting>();
  #lastId: number;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  /**
   * @param peer who answers, in messages: "the server"
   * @param firstId ids below it are somebody else's
   */
  constructor(
    private readonly peer: string,
    private readonly firstId = 0,
  ) {
    this.#lastId = firstId;
  }

  /** How many are without reply, those that were given up included. */
  get count(): number {
    return this.#waiting.size;
  }

  /**
   * Has `send` send a command under an id that no other has, and waits for its reply.
   * @throws VfioError ECANCELED, ETIMEDOUT, EBUSY: all ids are taken; ReplyError; what `send` throws
   */
  request<T>(
    command: CommandName,
    { timeoutMs = Infinity, signal }: CallOptions,
    send: (id: number) => void,
    take: TakeReply<T>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted) throw abortError(command, signal);
      const id = this.nextId();
      const deadline = performance.now() + timeoutMs;
      const abort = (): void => this.#giveUp(id, abortError(command, signal!));
      signal?.addEventListener("abort", abort);
      const forget = signal && ((): void => signal.removeEventListener("abort", abort));
      const settle = resolve as (result: unknown) => void;
      const waiting = {
        command,
        take,
        resolve: settle,
        reject,
        deadline,
        timeoutMs,
        forget,
        abandoned: false,
      };
      // Before it is sent: sending may find that the peer is gone, and fail it.
      this.#waiting.set(id, waiting);
      try {
        send(id);
      } catch (error) {
        this.#waiting.delete(id);
        this.#reject(waiting, error as Error);
        return;
      }
      if (deadline < this.#timerAt && this.#waiting.has(id)) this.#arm(deadline);
    });
  }

  /** An id that no outstanding command has. @throws VfioError EBUSY: all are taken */
  nextId(): number {
    const ids = ID_END - this.firstId;
    if (this.#waiting.size === ids) throw new VfioError("EBUSY", `${ids} commands are outstanding`);
    do this.#lastId = this.#lastId + 1 < ID_END ? this.#lastId + 1 : this.firstId;
    while (this.#waiting.has(this.#lastId));
    return this.#lastId;
  }

  /** Hands a reply to who waits for it. Takes `fds`. @returns false: nobody asked */
  reply(message: Uint8Array, view: DataView, fds: Fd[]): boolean {
    try {
      const at = message.byteOffset;
      const id = view.getUint16(at + Header.offset.msg_id, true);
      const waiting = this.#waiting.get(id);
      if (!waiting || Command[waiting.command] !== view.getUint16(at + Header.offset.cmd, true)) return false;
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#disarm();
      if (!waiting.abandoned) this.#settle(waiting, message, view, fds);
      return true;
    } finally {
      for (const fd of fds) fd.close();
    }
  }

  /** Fails everything that is outstanding. */
  fail(reason: Error): void {
    this.#disarm();
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const waiting of all) if (!waiting.abandoned) this.#reject(waiting, reason);
  }

  #settle(waiting: Waiting, message: Uint8Array, view: DataView, fds: Fd[]): void {
    const at = message.byteOffset;
    if (view.getUint32(at + Header.offset.flags, true) & HeaderFlags.ERROR) {
      this.#reject(
        waiting,
        new ReplyError(waiting.command, view.getUint32(at + Header.offset.error_no, true), this.peer),
      );
      return;
    }
    try {
      const result = waiting.take(message, view, fds);
      waiting.forget?.();
      waiting.resolve(result);
    } catch (error) {
      // The stream is in step, only this reply is nonsense.
      this.#reject(waiting, protocolError(`reply to ${waiting.command}: ${asVfioError(error).message}`));
    }
  }

  #reject(waiting: Waiting, error: Error): void {
    waiting.forget?.();
    waiting.reject(error);
  }

  #giveUp(id: number, error: Error): void {
    const waiting = this.#waiting.get(id)!;
    waiting.abandoned = true;
    this.#reject(waiting, error);
  }

  #arm(deadline: number): void {
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(() => this.#expire(), deadline - performance.now());
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
  }

  #expire(): void {
    const now = performance.now();
    let next = Infinity;
    for (const [id, waiting] of this.#waiting) {
      if (waiting.abandoned) continue;
      if (waiting.deadline <= now) {
        this.#giveUp(
          id,
          new VfioError(
            "ETIMEDOUT",
            `${waiting.command}: ${this.peer} has not answered in ${waiting.timeoutMs} ms`,
          ),
        );
      } else next = Math.min(next, waiting.deadline);
    }
    this.#timerAt = Infinity;
    if (next < Infinity) this.#arm(next);
  }
}

/** ECANCELED, with the signal's reason as its cause. */
export function abortError(what: string, signal: AbortSignal): VfioError {
  const error = new VfioError("ECANCELED", `${what}: given up by its caller`);
  error.cause = signal.reason;
  return error;
}
