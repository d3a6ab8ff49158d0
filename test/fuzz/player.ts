import { connectUnix, type Fd } from "@vfiokit/user/linux";
import {
  Command,
  commandName,
  decodeMessage,
  encodeError,
  encodeReply,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  Type,
  TYPE_MASK,
} from "@vfiokit/user/wire";
import { libc } from "../../packages/user/src/linux/libc.js";
import { Expected } from "./expected.js";
import type { Files } from "./files.js";
import { RawLine } from "./line.js";
import { ANSWER_MS, type Patience } from "./patience.js";
import type { DmaAnswer, SendStep, Session, Step } from "./session.js";

/** What the server must not do. */
export class Finding extends Error {
  override readonly name = "Finding";
}

export interface Played {
  readonly messages: number;
  readonly answers: number;
  readonly refused: number;
  /** DMA_READ and DMA_WRITE of the server. */
  readonly dma: number;
}

/** Descriptors that a message may have (max_msg_fds of every server of ours). */
const MAX_FDS = 16;
const SHUT_WR = 1;
const LINGER_MS = 4;

/** Plays a session against a server, and looks at its answers. @throws Finding */
export async function play(
  session: Session,
  path: string,
  files: Files,
  patience: Patience,
): Promise<Played> {
  const player = new Player(session, path, files, patience);
  try {
    return await player.run();
  } finally {
    player.close();
    files.grow();
  }
}

class Player {
  readonly #main: RawLine;
  #twin: RawLine | undefined;
  readonly #expected = new Expected();
  #messages = 0;
  #answered = 0;
  #refused = 0;
  #dma = 0;
  #wrong: Finding | undefined;
  #wake: () => void = () => undefined;
  /** What leaves with the next message. */
  #joined: Uint8Array[] = [];
  readonly #others: RawLine[] = [];

  constructor(
    private readonly session: Session,
    private readonly path: string,
    private readonly files: Files,
    private readonly patience: Patience,
  ) {
    this.#main = new RawLine(connectUnix(path), {
      onMessage: (bytes, fds) => this.#onMessage(bytes, fds),
      onEnd: () => this.#wake(),
    });
  }

  async run(): Promise<Played> {
    const { steps, end } = this.session;
    for (const step of steps) {
      await this.#step(step);
      if (this.#main.ended) break;
    }
    this.#flush();
    if (end === "half") {
      this.#expected.mayEnd ??= "the client has closed its sending side";
      libc.shutdown(this.#main.fd.number, SHUT_WR);
    }
    if (end === "wait") await this.#settled();
    this.#check();
    return { messages: this.#messages, answers: this.#answered, refused: this.#refused, dma: this.#dma };
  }

  close(): void {
    this.#main.close();
    this.#twin?.close();
    for (const other of this.#others) other.close();
  }

  async #step(step: Step): Promise<void> {
    switch (step.kind) {
      case "send":
        if (step.line === "twin") this.#sendTwin(step);
        else this.#sendMain(step);
        return;
      case "wait":
        this.#flush();
        return this.#settled();
      case "linger":
        return new Promise((resolve) => setTimeout(resolve, LINGER_MS));
      case "deaf":
        this.#main.setDeaf(true);
        return;
      case "shrink file":
        this.files.shrink();
        return;
      case "other client":
        this.#otherClient(step.says);
        return;
    }
  }

  #sendMain(step: SendStep): void {
    const { bytes, fds, cuts, fdsWith, joined } = step;
    this.#messages++;
    if (fds.length > MAX_FDS) this.#expected.mayEnd ??= `${fds.length} descriptors`;
    this.#expected.sent(bytes, fds.length);
    if (joined) {
      this.#joined.push(bytes);
      return;
    }
    // Descriptors of one message must not come with the last byte of another.
    if (fds.length > 0 || cuts.length > 0) this.#flush();
    const numbers = this.files.numbers(fds);
    if (cuts.length === 0) {
      this.#main.send(Buffer.concat([...this.#joined.splice(0), bytes]), numbers);
      return;
    }
    const ends = [...cuts, bytes.length];
    ends.forEach((end, at) => {
      this.#main.send(bytes.subarray(ends[at - 1] ?? 0, end), at === fdsWith ? numbers : []);
    });
  }

  #sendTwin({ bytes, fds }: SendStep): void {
    if (!this.#twin) return;
    this.#expected.mayEnd ??= "what it was told over the twin socket";
    this.#twin.send(bytes, this.files.numbers(fds));
  }

  #flush(): void {
    if (this.#joined.length > 0) this.#main.send(Buffer.concat(this.#joined.splice(0)));
  }

  /** All is answered, or the connection has ended. */
  async #settled(): Promise<void> {
    this.#main.setDeaf(false);
    const settled = (): boolean =>
      this.#wrong !== undefined || this.#main.ended || this.#expected.questions.length === 0;
    const all = async (): Promise<void> => {
      while (!settled()) await new Promise<void>((resolve) => (this.#wake = resolve));
    };
    // With a stream that is not in step any more nobody can tell what is to be answered.
    if (this.#expected.mayEnd !== undefined) {
      await Promise.race([all(), new Promise((resolve) => setTimeout(resolve, 5))]);
      return;
    }
    const progress = (): number => this.#main.moved + (this.#twin?.moved ?? 0);
    const inTime = await this.patience.wait(all(), { limit: ANSWER_MS, progress });
    this.#check();
    if (inTime) return;
    const [first] = this.#expected.questions;
    throw new Finding(
      `no answer to ${commandName(first!.cmd) ?? `command ${first!.cmd}`} ${first!.id} within ${ANSWER_MS} ms, ` +
        `${this.#expected.questions.length} questions`,
    );
  }

  #check(): void {
    if (this.#wrong) throw this.#wrong;
    if (this.#main.ended && this.#expected.mayEnd === undefined)
      throw new Finding("the server ended the connection, and was given no reason");
  }

  #onMessage(bytes: Uint8Array, fds: readonly Fd[]): void {
    const { flags, cmd, msg_id } = Header.decode(bytes);
    if ((flags & TYPE_MASK) === Type.COMMAND) {
      this.#dma++;
      this.#answerDma(this.#main, bytes);
      return;
    }
    this.#answered++;
    if (flags & HeaderFlags.ERROR) {
      this.#refused++;
      if (this.#answered === 1) this.#expected.mayEnd ??= "VERSION was refused";
    }
    this.#wrong ??= this.#faultOf(bytes);
    // vfio-user has no order of replies, and a relay answers some commands itself.
    const { questions, mayEnd } = this.#expected;
    const at = questions.findIndex((question) => question.cmd === cmd && question.id === msg_id);
    if (at >= 0) questions.splice(at, 1);
    else if (mayEnd === undefined)
      this.#wrong ??= new Finding(`an answer that nobody has asked for: command ${cmd}, id ${msg_id}`);
    if (this.#answered === 1 && cmd === (Command.VERSION as number) && fds.length > 0)
      this.#openTwin(fds[0]!);
    this.#wake();
  }

  #faultOf(bytes: Uint8Array): Finding | undefined {
    const { flags, error_no, cmd } = Header.decode(bytes);
    const shown = Buffer.from(bytes.subarray(0, 64)).toString("hex");
    if (flags & HeaderFlags.ERROR) {
      const right = bytes.length === HEADER_SIZE && error_no > 0 && error_no < 4096;
      return right ? undefined : new Finding(`an error reply that is none: ${shown}`);
    }
    try {
      decodeMessage(bytes);
      return undefined;
    } catch (error) {
      return new Finding(`an answer to command ${cmd} that does not decode: ${String(error)}: ${shown}`);
    }
  }

  #openTwin(fd: Fd): void {
    this.#twin ??= new RawLine(fd.duplicate(), {
      onMessage: (bytes) => {
        this.#dma++;
        this.#answerDma(this.#twin!, bytes);
      },
      onEnd: () => undefined,
    });
  }

  #answerDma(line: RawLine, request: Uint8Array): void {
    const { dma } = this.session;
    if (dma === "never") return;
    if (dma !== "right") this.#expected.mayEnd ??= `how DMA was answered: ${dma}`;
    const answer = dmaAnswer(request, dma);
    line.send(answer, dma === "with a descriptor" ? this.files.numbers(["memfd"]) : []);
    if (dma === "twice") line.send(answer);
  }

  #otherClient(says: Uint8Array): void {
    let fd: Fd;
    try {
      fd = connectUnix(this.path);
    } catch {
      return; // the backlog is full
    }
    const other: RawLine = new RawLine(fd, { onMessage: () => undefined, onEnd: () => undefined });
    this.#others.push(other);
    other.send(says);
  }
}

function dmaAnswer(request: Uint8Array, how: DmaAnswer): Uint8Array {
  const { msg_id, cmd } = Header.decode(request);
  if (how === "error") return encodeError(cmd, msg_id, 14);
  if (how === "garbage") return Uint8Array.from({ length: 24 }, (_, i) => i * 7);
  const id = how === "another id" ? msg_id ^ 0x5555 : msg_id;
  const message = decodeMessage(request);
  const off = how === "short" ? -1 : how === "long" ? 1 : 0;
  if (message.kind === "request" && message.command === "DMA_READ") {
    const { address, count } = message.payload;
    const length = Math.max(0, Number(count) + off);
    return encodeReply("DMA_READ", id, { address, count: BigInt(length), data: new Uint8Array(length) });
  }
  if (message.kind === "request" && message.command === "DMA_WRITE") {
    const { address, count } = message.payload;
    return encodeReply("DMA_WRITE", id, { written: { address, count: count + BigInt(off) } });
  }
  return encodeError(cmd, id, 22);
}
