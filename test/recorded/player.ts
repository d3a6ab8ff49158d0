import { ftruncateSync, openSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { createEventFd, drainEventFd, Fd, reactor } from "@vfiokit/user/linux";
import {
  decodeMessage,
  encodeRequest,
  type CommandName,
  type Message,
  type RequestPayload,
} from "@vfiokit/user/wire";
import { expect } from "vitest";
import { connectRaw, type RawClient } from "../../packages/user/test/server/support.js";
import type { Exchange, FdName, ImageReading, Step } from "./script.js";

export interface Servers {
  /** Sockets. */
  readonly source: string;
  readonly destination: string;
}

export interface Played {
  /** Messages that were answered as the script says. */
  readonly messages: number;
  /** Bytes of the image that went from one server to the other. */
  readonly imageBytes: number;
}

/** Plays a script against two servers, by the wire codec on plain sockets. Fails where a reply is not the script's. */
export async function play(script: readonly Step[], servers: Servers, memorySize: number): Promise<Played> {
  await using player = new Player(servers, memorySize);
  for (const step of script) await player.step(step);
  return player.played;
}

class Player implements AsyncDisposable {
  readonly #memory: Fd;
  readonly #interrupt = createEventFd();
  #server: RawClient;
  readonly #earlier: RawClient[] = [];
  readonly #image: Uint8Array[] = [];
  #messages = 0;

  constructor(
    private readonly servers: Servers,
    memorySize: number,
  ) {
    // A file that can still be resized, as a plain client has one: no memfd, no seals.
    const path = `${tmpdir()}/recorded-${process.pid}-${performance.now()}`;
    this.#memory = new Fd(openSync(path, "wx+"));
    unlinkSync(path);
    ftruncateSync(this.#memory.number, memorySize);
    this.#server = connectRaw(servers.source);
  }

  get played(): Played {
    return {
      messages: this.#messages,
      imageBytes: this.#image.reduce((sum, { length }) => sum + length, 0),
    };
  }

  async step(step: Step): Promise<void> {
    if ("send" in step) await this.#exchange(step);
    else if ("await" in step) await this.#awaitInterrupt();
    else if ("readImage" in step) await this.#readImage(step.readImage, step.meanwhile);
    else if ("connect" in step) {
      // The first server stays connected: its client still has to hear from it when the second has taken over.
      this.#earlier.push(this.#server);
      this.#server = connectRaw(this.servers[step.connect]);
    } else
      for (const data of this.#image.filter(({ length }) => length > 0))
        await this.#send("MIG_DATA_WRITE", step.writeImage.id, {
          argsz: 8 + data.length,
          size: data.length,
          data,
        });
  }

  async #exchange({ send, id, payload, fds, expect: expected }: Exchange): Promise<void> {
    const reply = await this.#send(send, id, payload, fds);
    const answer = reply.kind === "error" ? reply.errno : reply.kind === "reply" ? reply.payload : undefined;
    const where = `${this.#messages}: ${send}`;
    if (typeof expected === "number") expect(answer, where).toBe(expected);
    else expect(named(answer, expected), where).toEqual(expected);
  }

  async #readImage({ id, size, most = Infinity }: ImageReading, meanwhile?: Exchange): Promise<void> {
    for (let count = 0; count < most; count++) {
      const reply = await this.#send("MIG_DATA_READ", id, { argsz: 8 + size, size });
      if (reply.kind !== "reply" || reply.command !== "MIG_DATA_READ")
        throw new Error(`MIG_DATA_READ: ${JSON.stringify(reply)}`);
      const { data } = reply.payload;
      if (data.length === 0) break;
      this.#image.push(data.slice());
      if (meanwhile) await this.#exchange(meanwhile);
    }
  }

  async #send<C extends CommandName>(
    command: C,
    id: number,
    payload: RequestPayload<C>,
    fds: readonly FdName[] = [],
  ): Promise<Message> {
    const numbers = fds.map((name) => (name === "memory" ? this.#memory : this.#interrupt).number);
    const reply = await this.#server.exchange(encodeRequest(command, id, payload), numbers);
    this.#messages++;
    expect(reply.id, `the id of the reply to ${command}`).toBe(id);
    for (const fd of reply.fds) fd.close();
    return decodeMessage(reply.bytes);
  }

  async #awaitInterrupt(): Promise<void> {
    if (drainEventFd(this.#interrupt) > 0) return;
    await new Promise<void>((resolve) => {
      const watch = reactor.add(this.#interrupt, {
        onReadable: () => {
          drainEventFd(this.#interrupt);
          watch.remove();
          resolve();
          return false;
        },
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of [...this.#earlier, this.#server]) client.close();
    this.#memory.close();
    this.#interrupt.close();
    await new Promise(setImmediate);
  }
}

/** Of `answer` what `expected` names. */
function named(answer: unknown, expected: object): unknown {
  if (typeof answer !== "object" || answer === null || answer instanceof Uint8Array) return answer;
  return Object.fromEntries(
    Object.entries(expected).map(([key, value]: [string, unknown]) => {
      const found = (answer as Record<string, unknown>)[key];
      return [key, typeof value === "object" && value !== null ? named(found, value) : found];
    }),
  );
}
