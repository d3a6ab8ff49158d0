import { Errno, VfioError } from "@vfiokit/core";
import { SyscallError } from "../linux/index.js";
import type { MessageSocket } from "../socket/index.js";
import {
  commandName,
  encodedSize,
  encodeError,
  Header,
  HeaderFlags,
  refusalText,
  writeMessage,
  type CommandName,
  type Message,
} from "../wire/index.js";
import type { Log } from "./options.js";
import type { Answer } from "./session.js";

const { offset: HEADER } = Header;

/** The answers to the command at the inbox's head, which may have asked for none. Accesses to regions write their own. */
export class Replies {
  #closed = false;

  constructor(
    private readonly socket: MessageSocket,
    private readonly log: Log,
  ) {}

  answer(command: CommandName, { payload, fds }: Answer<CommandName>): void {
    if (this.#closed || !this.#wanted) return;
    const { view, head } = this.socket.inbox;
    const msg_id = view.getUint16(head + HEADER.msg_id, true);
    const reply = { kind: "reply", command, msg_id, payload } as Message;
    this.socket.outbox.append(encodedSize(reply), (into) => writeMessage(reply, into.fill(0)), fds);
  }

  /** With an error: the header alone. What is no VfioError is a bug of ours. */
  refuse(error: unknown, size: number): void {
    if (this.#closed) return;
    const { inbox } = this.socket;
    const cmd = inbox.view.getUint16(inbox.head + HEADER.cmd, true);
    const expected = error instanceof VfioError || error instanceof SyscallError;
    const text = expected
      ? refusalText(error, inbox.message(size))
      : `a bug: ${error instanceof Error ? error.stack : String(error)}`;
    this.log(expected ? "debug" : "error", `${commandName(cmd) ?? `command ${cmd}`}: ${text}`);
    if (!this.#wanted) return;
    const id = inbox.view.getUint16(inbox.head + HEADER.msg_id, true);
    this.socket.append(encodeError(cmd, id, expected ? error.errno : Errno.EIO));
  }

  /** The connection has ended. */
  close(): void {
    this.#closed = true;
  }

  get #wanted(): boolean {
    const { view, head } = this.socket.inbox;
    return (view.getUint32(head + HEADER.flags, true) & HeaderFlags.NO_REPLY) === 0;
  }
}
