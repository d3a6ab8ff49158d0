/** Commands that wait for their reply, by message id. */

import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import { commandName, Header, HeaderFlags, type CommandName } from "../wire/index.js";
import { asVfioError, CommandError, protocolError } from "./errors.js";

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
  readonly cmd: number;
  readonly take: TakeReply<unknown>;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
  readonly forget: (() => void) | undefined;
  /** Given up by its caller. The id stays taken until the reply comes, which nobody wants any more. */
  abandoned: boolean;
}

const IDS = 0x1_0000;

export class Commands {
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  /** How many are without reply, those that were given up included. */
  get outstanding(): number {
    return this.#waiting.size;
  }

  /** An id that no outstanding command has. @throws VfioError EBUSY: all are taken */
  nextId(): number {
    if (this.#waiting.size === IDS) throw new VfioError("EBUSY", `${IDS} commands are outstanding`);
    do this.#lastId = (this.#lastId + 1) % IDS;
    while (this.#waiting.has(this.#lastId));
    return this.#lastId;
  }

  /** Waits for the reply to `id`. */
  wait<T>(
    id: number,
    command: CommandName,
    cmd: number,
    options: CallOptions,
    take: TakeReply<T>,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const { timeoutMs = Infinity, signal } = options;
      const deadline = performance.now() + timeoutMs;
      const abort = (): void => this.#giveUp(id, abortError(command, signal!));
      signal?.addEventListener("abort", abort);
      this.#waiting.set(id, {
        command,
        cmd,
        take,
        resolve: resolve as (result: unknown) => void,
        reject,
        deadline,
        forget: signal && ((): void => signal.removeEventListener("abort", abort)),
        abandoned: false,
      });
      if (deadline < this.#timerAt) this.#arm(deadline);
    });
  }

  /** Hands a reply to who waits for it. Takes `fds`. @throws VfioError EPROTO: nobody asked */
  reply(message: Uint8Array, view: DataView, fds: Fd[]): void {
    try {
      const at = message.byteOffset;
      const id = view.getUint16(at + Header.offset.msg_id, true);
      const cmd = view.getUint16(at + Header.offset.cmd, true);
      const waiting = this.#waiting.get(id);
      if (waiting?.cmd !== cmd)
        throw protocolError(`a reply ${id} to ${commandName(cmd) ?? cmd}, which was not sent`);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#disarm();
      if (!waiting.abandoned) this.#settle(waiting, message, view, fds);
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
        new CommandError(waiting.command, view.getUint32(at + Header.offset.error_no, true)),
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
          new VfioError("ETIMEDOUT", `${waiting.command}: the server has not answered in time`),
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
