import { VfioError } from "@vfiokit/core";
import type { EndpointDescription, MigrationTarget } from "../endpoint.js";
import { BrokenConnection } from "./frame-socket.js";
import { hostAndPort } from "./address.js";
import { describedBy } from "./description.js";
import { explainRead, openLink, reopenLink, type Link } from "./link.js";
import {
  ByeFlags,
  countOf,
  DataFlags,
  encodeFrame,
  failureOf,
  MAX_DATA,
  migrationBytes,
  type Frame,
  type FrameValue,
} from "./protocol.js";
import { SendWindow } from "./send-window.js";
import type { Settings } from "./target-options.js";
import type { Timing } from "./timing.js";

/** Bytes in flight at most, whatever window the receiver offers: they are kept to be sent again. */
const MAX_WINDOW = 16 * 1024 * 1024;

type Answer = Extract<Frame, { readonly frame: "DONE" | "DESCRIPTION" }>;

/** A request that was sent and is not answered: there is one at a time. */
interface Outstanding {
  readonly request: number;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A device behind a receiver. A connection that breaks is made again, as long as the receiver waits for it; the
 * operations do not notice.
 */
export class RemoteTarget implements MigrationTarget {
  /** The connection; undefined: it is broken. */
  #link: Link | undefined;
  readonly #welcome: FrameValue<"WELCOME">;
  readonly #window = new SendWindow();
  readonly #maxBytes: number;
  readonly #closing = new AbortController();
  readonly #alive: NodeJS.Timeout;
  #requests = 0;
  #outstanding: Outstanding | undefined;
  /** Settles when the last request so far is answered. */
  #answered: Promise<unknown> = Promise.resolve();
  /** Settles when the last write so far has. */
  #written: Promise<unknown> = Promise.resolve();
  /** The number of its BEGIN; 0: none. */
  #image = 0;
  /** Why the target does not take this image. */
  #imageError: VfioError | undefined;
  /** Whether it is prepared is not known yet. */
  #preparing = false;
  /** Why nothing works any more. */
  #failure: Error | undefined;
  /** Who waits for room in the window. */
  #wakeWriter: () => void = () => undefined;

  constructor(
    private readonly settings: Settings,
    link: Link,
  ) {
    this.#welcome = link.welcome;
    this.#maxBytes = Math.min(link.welcome.window, MAX_WINDOW);
    this.#alive = setInterval(() => this.#sayAlive(), settings.timing.alive_ms).unref();
    void this.#run(link).catch((error: unknown) => this.#fail(error as Error));
  }

  async describe(): Promise<EndpointDescription> {
    const answer = await this.#ask("DESCRIBE", {});
    if (answer.frame !== "DESCRIPTION")
      throw new VfioError("EPROTO", `${answer.frame}: DESCRIBE has another answer`);
    return describedBy(answer.value, this.settings.url);
  }

  async begin(): Promise<void> {
    this.#image = 0;
    try {
      await this.#ask("BEGIN", {}, (request) => {
        this.#image = request;
        this.#imageError = undefined;
        this.#window.clear();
      });
    } catch (error) {
      this.#image = 0;
      throw error;
    }
  }

  /** Several may be under way: they are carried out in their order. Settles when all of it is in the window. @throws VfioError what the target answered to this or to earlier bytes */
  write(bytes: Uint8Array): Promise<void> {
    // The bytes of one write stay together, also when there is no room for all of them.
    const written = this.#written.then(() => this.#write(bytes));
    this.#written = written.catch(() => undefined);
    return written;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#image === 0) throw new VfioError("EINVAL", "bytes of no image: begin comes first");
    for (let at = 0; at < bytes.length; at += MAX_DATA) {
      const piece = bytes.subarray(at, at + MAX_DATA);
      const packed = await this.settings.codec?.compress(piece);
      while (!this.#window.hasRoom(piece.length, this.#maxBytes) && !this.#failure && !this.#imageError)
        await new Promise<void>((resolve) => (this.#wakeWriter = resolve));
      this.#check();
      const smaller = packed !== undefined && packed.length < piece.length;
      const frame = encodeFrame("DATA", {
        image: this.#image,
        flags: smaller ? DataFlags.COMPRESSED : 0,
        offset: BigInt(this.#window.offset),
        size: piece.length,
        data: smaller ? packed : piece,
      });
      this.#window.data(frame, piece.length);
      this.#pump();
    }
  }

  async prepare(id: string): Promise<void> {
    this.#check();
    const migration = migrationBytes(id);
    this.#preparing = true;
    await this.#ask("PREPARE", { migration });
    this.#preparing = false;
  }

  async activate(id: string): Promise<void> {
    await this.#ask("ACTIVATE", { migration: migrationBytes(id) });
  }

  async discard(id: string): Promise<void> {
    await this.#ask("DISCARD", { migration: migrationBytes(id) });
    this.#image = 0;
  }

  /** What is not prepared is discarded by the receiver then; what is prepared stays so. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    const link = this.#link;
    link?.frames.send("BYE", { flags: this.#preparing ? ByeFlags.DISCARD : 0 });
    this.#fail(new VfioError("ECANCELED", `${this.settings.url}: closed`));
    link?.frames.end();
  }

  #check(): void {
    if (this.#failure) throw this.#failure;
    if (this.#imageError) throw this.#imageError;
  }

  /** @param begun runs before the request is sent, after all others were answered */
  #ask<N extends "DESCRIBE" | "BEGIN" | "PREPARE" | "ACTIVATE" | "DISCARD">(
    name: N,
    fields: Omit<FrameValue<N>, "request">,
    begun?: (request: number) => void,
  ): Promise<Answer> {
    const answer = this.#answered.then(
      () =>
        new Promise<Answer>((resolve, reject) => {
          if (this.#failure) throw this.#failure;
          const request = ++this.#requests;
          begun?.(request);
          this.#outstanding = { request, resolve, reject };
          this.#window.request(encodeFrame(name, { ...fields, request } as FrameValue<N>));
          this.#pump();
        }),
    );
    this.#answered = answer.catch(() => undefined);
    return answer;
  }

  /** Sends what there is room for on the connection. */
  #pump(): void {
    const frames = this.#link?.frames;
    while (frames?.hasRoom) {
      const frame = this.#window.next();
      if (!frame) return;
      frames.write(frame);
    }
  }

  async #run(link: Link): Promise<void> {
    for (let current = link; ;) {
      const why = await this.#converse(current);
      if (this.#closing.signal.aborted) return;
      const { url, options } = this.settings;
      options.log?.("warn", `${url}: the connection broke (${why.detail}): connecting again`);
      current = await this.#reopen(why);
      this.#resume(current);
      options.log?.("info", `${url}: connected again`);
    }
  }

  /** Until the connection breaks. @throws what cannot be mended by another one */
  async #converse(link: Link): Promise<BrokenConnection> {
    const { frames } = link;
    const where = hostAndPort(this.settings.address);
    this.#link = link;
    frames.onRoom = () => this.#pump();
    this.#pump();
    try {
      for (;;) {
        const frame = await frames.read(this.settings.timing.idle_ms);
        if (!frame) throw new BrokenConnection("ECONNRESET", "it closed the connection");
        this.#take(frame);
      }
    } catch (error) {
      this.#link = undefined;
      if (!this.#closing.signal.aborted) frames.destroy();
      const broken = explainRead(error, where);
      if (broken instanceof BrokenConnection || this.#closing.signal.aborted)
        return broken as BrokenConnection;
      throw broken;
    }
  }

  #take(frame: Frame): void {
    switch (frame.frame) {
      case "RECEIVER_ALIVE":
        break;
      case "ACK":
        // Of an image that was begun again: of no interest.
        if (frame.value.image === this.#image) this.#window.acknowledge(countOf("taken", frame.value.taken));
        break;
      case "DONE":
      case "DESCRIPTION":
        this.#answer(frame.value.request).resolve(frame);
        break;
      case "FAILED": {
        const { request } = frame.value;
        const error = failureOf(frame.value);
        if (request === this.#outstanding?.request) this.#answer(request).reject(error);
        else if (request === this.#image) this.#imageError = error;
        break;
      }
      case "REFUSED":
        throw failureOf(frame.value);
      default:
        throw new VfioError("EPROTO", `${frame.frame}: no frame for this moment`);
    }
    this.#wakeWriter();
  }

  /** Takes the request that is answered from those that wait. */
  #answer(request: number): Outstanding {
    const outstanding = this.#outstanding;
    if (outstanding?.request !== request)
      throw new VfioError("EPROTO", `an answer to request ${request}, which is not open`);
    this.#outstanding = undefined;
    this.#window.answered();
    return outstanding;
  }

  #reopen(why: BrokenConnection): Promise<Link> {
    const { url, address, hello, timing, options } = this.settings;
    const { resumeWindow, proof } = this.#welcome;
    const open = (limit: Timing) => openLink(address, options.security, { ...hello, proof }, limit);
    return reopenLink(open, url, why, {
      timing,
      resumeWindow_ms: resumeWindow,
      signal: this.#closing.signal,
    });
  }

  #resume({ frames, welcome }: Link): void {
    if (this.#closing.signal.aborted) {
      frames.send("BYE", { flags: this.#preparing ? ByeFlags.DISCARD : 0 });
      frames.end();
      throw this.#closing.signal.reason as Error;
    }
    this.#window.restart();
    if (welcome.image !== 0 && welcome.image === this.#image)
      this.#window.acknowledge(countOf("taken", welcome.taken));
    this.#wakeWriter();
  }

  #sayAlive(): void {
    if (this.#link?.frames.hasRoom) this.#link.frames.send("CLIENT_ALIVE", {});
  }

  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#link = undefined;
    this.#closing.abort(error);
    clearInterval(this.#alive);
    this.#outstanding?.reject(error);
    this.#outstanding = undefined;
    this.#wakeWriter();
  }
}
