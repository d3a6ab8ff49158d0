import { Errno } from "@vfiokit/core";
import { createMemfd, socketPair, type Fd } from "@vfiokit/user/linux";
import { Command, Header, HEADER_SIZE, HeaderFlags, messageType, Type } from "@vfiokit/user/wire";
import { Listener } from "../../packages/user/src/socket/index.js";
import { RawClient } from "../../packages/user/test/server/support.js";
import { headerOf, type Recorded } from "./recording.js";

/** What tells a request: of some only the command, since their bytes differ from run to run. */
function keyOf(bytes: Uint8Array): string {
  const { cmd } = headerOf(bytes);
  const told =
    cmd === Command.VERSION || cmd === Command.DMA_MAP || cmd === Command.MIG_DATA_WRITE
      ? HEADER_SIZE
      : cmd === Command.REGION_WRITE
        ? HEADER_SIZE + 16
        : bytes.length;
  return `${cmd} ${Buffer.from(bytes.subarray(HEADER_SIZE, told)).toString("hex")}`;
}

/** Answers each request as a recorded server did; what it was never asked, as libvfio-user answers: with EINVAL. */
export class RecordedServer implements Disposable {
  /** What it was asked. */
  readonly requests: Uint8Array[] = [];
  /** Requests that nobody has recorded an answer to. */
  readonly unknown: Uint8Array[] = [];
  /** Answers to each request, in their order. The last one goes on. */
  readonly #answers = new Map<string, Recorded[]>();
  readonly #listener: Listener;
  readonly #sockets: Disposable[] = [];

  constructor(path: string, messages: readonly Recorded[]) {
    const asked = new Map<number, string>();
    for (const message of messages) {
      const { id } = headerOf(message.bytes);
      if (message.toServer) asked.set(id, keyOf(message.bytes));
      else if (messageType(new DataView(message.bytes.buffer), 0) === Type.REPLY) {
        const key = asked.get(id)!;
        this.#answers.set(key, [...(this.#answers.get(key) ?? []), message]);
      }
    }
    this.#listener = new Listener(
      path,
      () => undefined,
      (fd) => void this.#serve(new RawClient(fd)),
    );
  }

  async #serve(client: RawClient): Promise<void> {
    this.#sockets.push(client);
    for (let message; (message = await client.nextOrEnd());) {
      for (const fd of message.fds) fd.close();
      const { bytes, fds } = this.#answer(message.bytes);
      const given = Array.from({ length: fds }, () => this.#descriptor(message.cmd));
      await client.send(
        bytes,
        given.map((fd) => fd.number),
      );
      for (const fd of given) fd.close();
    }
    client.close();
  }

  #answer(request: Uint8Array): { readonly bytes: Uint8Array; readonly fds: number } {
    this.requests.push(request);
    const answers = this.#answers.get(keyOf(request)) ?? [];
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (!answer) this.unknown.push(request);
    const bytes = answer ? answer.bytes.slice() : refusal(request);
    bytes.set(request.subarray(0, 2), Header.offset.msg_id);
    return { bytes, fds: answer?.fds ?? 0 };
  }

  /** With VERSION comes the socket for the server's own commands, with a region its memory. */
  #descriptor(cmd: number): Fd {
    if (cmd !== Command.VERSION) return createMemfd("bar", 0x3000);
    const [theirs, ours] = socketPair();
    this.#sockets.push(ours);
    return theirs;
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket[Symbol.dispose]();
  }
}

function refusal(request: Uint8Array): Uint8Array {
  const answer = request.slice(0, HEADER_SIZE);
  const view = new DataView(answer.buffer);
  view.setUint32(Header.offset.msg_size, HEADER_SIZE, true);
  view.setUint32(Header.offset.flags, Type.REPLY | HeaderFlags.ERROR, true);
  view.setUint32(Header.offset.error_no, Errno.EINVAL, true);
  return answer;
}
