// Over 300 lines: the phase that the device is in and the connection that may go on decide what each frame does.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { VfioError } from "@vfiokit/core";
import { asVfioError } from "../../socket/errors.js";
import type { MigrationTarget } from "../endpoint.js";
import type { Codec } from "./compression.js";
import { encodeDescription } from "./description.js";
import type { ReceiverEvent } from "./events.js";
import { BrokenConnection, type FrameSocket } from "./frame-socket.js";
import { IncomingImage } from "./incoming-image.js";
import {
  ByeFlags,
  Compression,
  encodeFrame,
  failure,
  migrationId,
  PROOF_SIZE,
  VERSION,
  type Frame,
  type FrameValue,
} from "./protocol.js";

/** How far the device is. Only what is loading, or may be, is discarded when its migration client goes away. */
type Phase = "open" | "loading" | "prepared" | "activated";

type Request = Extract<Frame, { readonly frame: "DESCRIBE" | "BEGIN" | "PREPARE" | "ACTIVATE" | "DISCARD" }>;

/** How long the end of a session waits for a device that does not answer. Milliseconds. */
const END_MS = 5000;

/** Why a session is over, and what its migration client is told about it. */
interface Farewell {
  readonly reason: string;
  readonly problem?: VfioError;
}

export interface SessionSettings {
  readonly window: number;
  readonly resumeWindow_ms: number;
  readonly idle_ms: number;
  readonly report: (event: Omit<ReceiverEvent, "device">) => void;
}

/** One migration client at work on one device, over one connection after the other. */
export class Session {
  readonly #id: Uint8Array;
  readonly #proof = randomBytes(PROOF_SIZE);
  #phase: Phase = "open";
  /** Of the migration: known from PREPARE on. */
  #migration: string | undefined;
  /** The last request that was carried out, and its answer, which may have to be given again. */
  #request = 0;
  #reply: Uint8Array | undefined;
  readonly #image: IncomingImage;
  /** Settles when the target has nothing to do. */
  #working: Promise<unknown> = Promise.resolve();
  /** The connection that may go on; undefined: it is broken. */
  #frames: FrameSocket | undefined;
  /** There was a connection before. */
  #resumed = false;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;

  constructor(
    private readonly target: MigrationTarget,
    hello: FrameValue<"HELLO">,
    codec: Codec | undefined,
    private readonly settings: SessionSettings,
  ) {
    this.#id = hello.session.slice();
    const agreed = hello.compression & Compression.ZSTD ? codec : undefined;
    this.#image = new IncomingImage(target, agreed);
  }

  /** Whether the migration client is away, and is not sending an image: another one may have the device. */
  get yields(): boolean {
    return this.#ended !== undefined || (!this.#frames && this.#phase !== "loading");
  }

  /** Whether a HELLO wants to continue this session, and may. */
  isContinuedBy({ session, proof }: FrameValue<"HELLO">): boolean {
    return !this.#ended && Buffer.compare(session, this.#id) === 0 && timingSafeEqual(proof, this.#proof);
  }

  /**
   * Serves a connection until it ends: "over", and the session with it; "broken", and it may be continued; "replaced":
   * it was, already.
   */
  async serve(frames: FrameSocket, peer: string): Promise<"over" | "broken" | "replaced"> {
    if (this.#ended) {
      frames.end();
      return "replaced";
    }
    clearTimeout(this.#timer);
    // A migration client that has connected again knows better than we whether the old connection still works.
    this.#frames?.destroy();
    this.#frames = frames;
    await this.#working;
    if (this.#frames !== frames) return "replaced";
    if (this.#resumed)
      this.#report("resumed", "info", `${peer} continues at byte ${this.#image.taken}`, { peer });
    this.#resumed = true;
    frames.send("WELCOME", this.#welcome());
    if (this.#image.error)
      frames.send("FAILED", { request: this.#image.number, ...failure(this.#image.error) });
    const farewell = await this.#converse(frames).catch((error: unknown) => {
      if (error instanceof BrokenConnection) return undefined;
      const problem = asVfioError(error);
      return { reason: `${peer} broke the protocol: ${problem.message}`, problem };
    });
    if (this.#frames !== frames) return "replaced";
    if (!farewell) {
      this.#frames = undefined;
      frames.destroy();
      return "broken";
    }
    await this.end(farewell.reason, { last: farewell.problem });
    return "over";
  }

  /** The connection is broken: waits for another one, unless it is here already. */
  wait(expired: () => void): void {
    if (this.#frames || this.#ended) return;
    const { resumeWindow_ms } = this.settings;
    const seconds = resumeWindow_ms / 1000;
    this.#report(
      "broken",
      "warn",
      `the connection broke at byte ${this.#image.taken}: it can be continued for ${seconds} s`,
    );
    // Nothing more can be done to a device that runs, and its guest may be waiting for its socket.
    if (this.#phase === "activated") this.#close();
    this.#timer = setTimeout(expired, resumeWindow_ms);
  }

  /**
   * Ends the session: what is being loaded is discarded, what is prepared stays so (docs/migration-remote.md). Settles
   * when the target is closed.
   * @param last what the migration client is told, if it is there
   * @param decided somebody is about to decide what becomes of a device that is prepared
   */
  end(
    reason: string,
    { last, decided }: { last?: VfioError | undefined; decided?: boolean } = {},
  ): Promise<void> {
    this.#ended ??= this.#end(reason, last, decided);
    return this.#ended;
  }

  async #end(reason: string, last: VfioError | undefined, decided = false): Promise<void> {
    clearTimeout(this.#timer);
    const frames = this.#frames;
    this.#frames = undefined;
    if (last) frames?.send("REFUSED", failure(last));
    frames?.end();
    await within(END_MS, this.#working);
    if (this.#phase === "loading") await this.#discard(reason);
    if (this.#phase === "prepared" && !decided) {
      const how = `"vfiokit migrate --recover FROM TO" decides which side runs`;
      this.#report("left-prepared", "error", `${reason}, and the device is prepared and stopped: ${how}`);
    }
    this.#close();
    this.#report("ended", "info", reason);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.target.close();
  }

  async #discard(reason: string): Promise<void> {
    const discarded = this.target.discard(this.#migration ?? migrationId(this.#id)).then(
      () =>
        this.#report("discarded", "warn", `${reason}: what was loaded is discarded`, {
          bytes: this.#image.taken,
        }),
      (error: unknown) => {
        const why = asVfioError(error).message;
        this.#report("discarded", "error", `${reason}: what was loaded could not be discarded (${why})`);
      },
    );
    await within(END_MS, discarded);
  }

  #welcome(): FrameValue<"WELCOME"> {
    return {
      version: VERSION,
      compression: this.#image.codec ? Compression.ZSTD : 0,
      window: this.settings.window,
      resumeWindow: this.settings.resumeWindow_ms,
      proof: this.#proof,
      request: this.#request,
      image: this.#image.number,
      taken: BigInt(this.#image.taken),
    };
  }

  /** @returns why the migration client has said goodbye; undefined: it has not. @throws VfioError */
  async #converse(frames: FrameSocket): Promise<Farewell | undefined> {
    for (;;) {
      const frame = await frames.read(this.settings.idle_ms);
      if (!frame || this.#frames !== frames) return undefined;
      if (frame.frame === "BYE") return this.#bye(frame.value);
      if (frame.frame === "CLIENT_ALIVE") continue;
      const work = this.#perform(frame);
      this.#working = work.catch(() => undefined);
      const reply = await work;
      if (this.#frames !== frames) return undefined;
      if (reply) frames.write(reply);
      // A migration client that does not read its answers gets nothing done.
      await frames.room(this.settings.idle_ms);
    }
  }

  #bye({ flags }: FrameValue<"BYE">): Farewell {
    if (flags & ByeFlags.DISCARD && this.#phase === "prepared") this.#phase = "loading";
    return { reason: "the migration client is done" };
  }

  /** @returns the answer. @throws VfioError EPROTO: the migration client breaks the protocol */
  async #perform(frame: Frame): Promise<Uint8Array | undefined> {
    switch (frame.frame) {
      case "DATA":
        return this.#image.take(frame.value, this.#request);
      case "DESCRIBE":
      case "BEGIN":
      case "PREPARE":
      case "ACTIVATE":
      case "DISCARD": {
        const { request } = frame.value;
        if (request === this.#request && this.#reply) return this.#reply;
        if (request !== this.#request + 1)
          throw new VfioError("EPROTO", `request ${request} after request ${this.#request}`);
        const reply = await this.#carryOut(frame);
        this.#request = request;
        return (this.#reply = reply);
      }
      default:
        throw new VfioError("EPROTO", `${frame.frame}: no frame for this moment`);
    }
  }

  async #carryOut(frame: Request): Promise<Uint8Array> {
    const { request } = frame.value;
    try {
      if (frame.frame === "DESCRIBE") return encodeDescription(request, await this.target.describe());
      if (frame.frame === "BEGIN") await this.#begin(request);
      else await this.#handOver(frame);
      return encodeFrame("DONE", { request });
    } catch (error) {
      return encodeFrame("FAILED", { request, ...failure(error) });
    }
  }

  async #begin(request: number): Promise<void> {
    const before = this.#phase;
    this.#phase = "loading";
    this.#image.clear();
    try {
      await this.target.begin();
    } catch (error) {
      // A device that is prepared refuses, and stays what it is.
      if (before === "prepared") this.#phase = before;
      throw error;
    }
    this.#image.number = request;
    this.#report("begun", "info", "an image is coming");
  }

  async #handOver({
    frame,
    value,
  }: Exclude<Request, { readonly frame: "DESCRIBE" | "BEGIN" }>): Promise<void> {
    const id = migrationId(value.migration);
    if (frame === "PREPARE") {
      if (this.#image.error) throw this.#image.error;
      this.#migration = id;
      await this.target.prepare(id);
      this.#phase = "prepared";
      this.#report("prepared", "info", "the image is loaded, and the device waits for the source", {
        bytes: this.#image.taken,
      });
    } else if (frame === "ACTIVATE") {
      this.#migration = id;
      await this.target.activate(id);
      this.#phase = "activated";
      this.#report("activated", "info", "the device runs");
    } else {
      await this.target.discard(id);
      this.#phase = "open";
      this.#image.number = 0;
      this.#report("discarded", "info", "the migration client has discarded what was loaded");
    }
  }

  #report(
    event: ReceiverEvent["event"],
    level: ReceiverEvent["level"],
    message: string,
    more: { readonly peer?: string; readonly bytes?: number } = {},
  ): void {
    const migration = this.#migration === undefined ? {} : { migration: this.#migration };
    this.settings.report({ event, level, message, ...migration, ...more });
  }
}

async function within(limit_ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, limit_ms)));
  await Promise.race([work, late]);
  clearTimeout(timer);
}
