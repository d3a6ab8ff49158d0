import { VfioError } from "@vfiokit/core";
import { asVfioError } from "../../socket/errors.js";
import type { Codec } from "./compression.js";
import type { ReceiverDevice } from "./device.js";
import type { FrameSocket } from "./frame-socket.js";
import { nameIn, Purpose, type FrameValue } from "./protocol.js";
import { serveRecovery } from "./recovery-server.js";
import { Session, type SessionSettings } from "./session.js";

/** A device of the receiver, and the one migration client that may be at work on it. */
export class Slot {
  #session: Session | undefined;
  /** A session is being made. */
  #opening = false;
  #closed = false;

  constructor(
    readonly name: string,
    private readonly device: ReceiverDevice,
    private readonly codec: Codec | undefined,
    private readonly settings: SessionSettings,
  ) {}

  /**
   * Serves a connection whose HELLO has named this device, until it ends. Who has another purpose than to migrate may
   * look at a device, and decide about it, only while nobody is at work on it.
   * @throws VfioError EBUSY: another migration client is at work; ECONNRESET: there is nothing to continue; what the device answers
   */
  async serve(frames: FrameSocket, hello: FrameValue<"HELLO">, peer: string): Promise<void> {
    if (nameIn(Purpose, "purpose", hello.purpose) === "RECOVER") {
      await this.#assertFree();
      return serveRecovery(frames, this.device, peer, this.settings);
    }
    const session = isNew(hello) ? await this.#begin(hello, peer) : this.#continue(hello);
    const end = await session.serve(frames, peer);
    if (end === "broken")
      session.wait(() => void this.#end(session, "the migration client has not come again"));
    if (end === "over") this.#forget(session);
  }

  /** Ends the session, if there is one. */
  async close(last: VfioError): Promise<void> {
    this.#closed = true;
    if (this.#session) await this.#session.end("the receiver ends", { last });
  }

  async #begin(hello: FrameValue<"HELLO">, peer: string): Promise<Session> {
    await this.#assertFree();
    if (this.#opening) throw this.#busy(); // whoever came at the same moment
    this.#opening = true;
    try {
      const target = await this.device.open(hello.purpose !== Purpose.CHECK);
      const session = new Session(target, hello, this.codec, this.settings);
      this.#session = session;
      if (this.#closed) {
        await this.#end(session, "the receiver ends");
        throw new VfioError("ECONNRESET", "the receiver was ended");
      }
      this.settings.report({ event: "connected", level: "info", peer, message: `${peer} is here` });
      return session;
    } catch (error) {
      throw asVfioError(error);
    } finally {
      this.#opening = false;
    }
  }

  /** Ends a session whose migration client is away and has left nothing half done. @throws VfioError EBUSY: there is another one */
  async #assertFree(): Promise<void> {
    while (this.#session?.yields) await this.#end(this.#session, "another migration client decides", true);
    if (this.#session || this.#opening) throw this.#busy();
  }

  #busy(): VfioError {
    const rule = "another migration is under way, or broke and may still be continued";
    return new VfioError("EBUSY", `${this.name}: ${rule}`);
  }

  #continue(hello: FrameValue<"HELLO">): Session {
    if (this.#session?.isContinuedBy(hello)) return this.#session;
    // ECONNRESET and not an answer: what was asked for over the broken connection may have been done.
    throw new VfioError("ECONNRESET", `${this.name}: the receiver does not know this migration any more`);
  }

  async #end(session: Session, reason: string, decided = false): Promise<void> {
    await session.end(reason, { decided });
    this.#forget(session);
  }

  #forget(session: Session): void {
    if (this.#session === session) this.#session = undefined;
  }
}

function isNew({ proof }: FrameValue<"HELLO">): boolean {
  return proof.every((byte) => byte === 0);
}
