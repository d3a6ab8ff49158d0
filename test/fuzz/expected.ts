import { Command, Header, HEADER_SIZE, HeaderFlags, Type, TYPE_MASK } from "@vfiokit/user/wire";

export interface Question {
  readonly cmd: number;
  readonly id: number;
}

/** Bytes of VERSION, at most (docs/security.md). */
const MAX_FIRST = 4096;
/** Bytes of a command, at most: header, head and max_data_xfer_size of an access. */
const MAX_MESSAGE = 32 + (1 << 20);
/** Descriptors that a message may have (max_msg_fds of every server of ours). */
const MAX_FDS = 16;

/** What a server has to answer, by the bytes that it was sent: the stream, cut into messages as the header has it. */
export class Expected {
  #bytes: Uint8Array = new Uint8Array();
  /** In their order. */
  readonly questions: Question[] = [];
  /** The server may end the connection: it was given a reason. */
  mayEnd: string | undefined;
  #first = true;
  /** Descriptors of the message that is not whole yet. */
  #fds = 0;

  /** @param fds how many descriptors went along */
  sent(bytes: Uint8Array, fds: number): void {
    if (this.#lost) return;
    this.#fds += fds;
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
    while (this.#bytes.length >= HEADER_SIZE) {
      const { msg_size, cmd, msg_id, flags } = Header.decode(this.#bytes);
      if (msg_size < HEADER_SIZE || msg_size > (this.#first ? MAX_FIRST : MAX_MESSAGE)) {
        this.mayEnd ??= `a message of ${msg_size} bytes`;
        return;
      }
      if (this.#bytes.length < msg_size) break;
      this.#bytes = this.#bytes.slice(msg_size);
      this.#fds = this.#bytes.length > 0 ? fds : 0;
      this.#message(cmd, msg_id, flags);
    }
    if (this.#fds > MAX_FDS) this.mayEnd ??= `${this.#fds} descriptors with one message`;
  }

  /** Nothing can be told of what comes behind. */
  get #lost(): boolean {
    return this.mayEnd !== undefined;
  }

  #message(cmd: number, id: number, flags: number): void {
    if (this.#first && (cmd !== (Command.VERSION as number) || (flags & TYPE_MASK) !== Type.COMMAND)) {
      this.mayEnd ??= "the first message is not VERSION";
      return;
    }
    // Refused, it would end the connection without a word.
    if (this.#first && flags & HeaderFlags.NO_REPLY) this.mayEnd ??= "VERSION wants no reply";
    this.#first = false;
    if ((flags & TYPE_MASK) === Type.REPLY) this.mayEnd ??= "a reply that nobody has asked for";
    else if ((flags & HeaderFlags.NO_REPLY) === 0) this.questions.push({ cmd, id });
  }
}
