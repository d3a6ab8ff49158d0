import { VfioError } from "@vfiokit/core";

/** Frames in flight at most, however small they are. */
const MAX_FRAMES = 1024;

interface Waiting {
  readonly frame: Uint8Array;
  /** Of DATA: where it ends in its image. Undefined: a request. */
  readonly end: number | undefined;
  readonly size: number;
}

/** What was given to send and is not acknowledged: it may have to be sent again, on another connection. */
export class SendWindow {
  readonly #frames: Waiting[] = [];
  /** How many of them were sent on this connection. */
  #sent = 0;
  #bytes = 0;
  /** The image: how much of it was given, and how much of that was taken. */
  #given = 0;
  #taken = 0;

  /** Bytes of DATA that are in flight. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Of the image: where the next DATA begins. */
  get offset(): number {
    return this.#given;
  }

  /** Whether `size` more bytes may be given now. */
  hasRoom(size: number, window: number): boolean {
    return this.#frames.length < MAX_FRAMES && (this.#bytes === 0 || this.#bytes + size <= window);
  }

  data(frame: Uint8Array, size: number): void {
    this.#given += size;
    this.#bytes += size;
    this.#frames.push({ frame, end: this.#given, size });
  }

  request(frame: Uint8Array): void {
    this.#frames.push({ frame, end: undefined, size: 0 });
  }

  /** The next frame to send. */
  next(): Uint8Array | undefined {
    return this.#sent < this.#frames.length ? this.#frames[this.#sent++]!.frame : undefined;
  }

  /** @throws VfioError EPROTO: the peer has taken what was not given, or takes it back */
  acknowledge(taken: number): void {
    if (taken < this.#taken || taken > this.#given) {
      throw new VfioError(
        "EPROTO",
        `taken ${taken}: ${this.#taken} to ${this.#given} bytes of the image were possible`,
      );
    }
    this.#taken = taken;
    const count = this.#frames.findIndex(({ end }) => end === undefined || end > taken);
    this.#drop(count < 0 ? this.#frames.length : count);
  }

  /** The request at the front was answered: one is in flight at a time, and what came before it is taken. */
  answered(): void {
    const at = this.#frames.findIndex(({ end }) => end === undefined);
    if (at >= 0) this.#drop(at + 1);
  }

  /** Another connection: everything has to be sent again. */
  restart(): void {
    this.#sent = 0;
  }

  /** Another image: what is left of this one is of no use. */
  clear(): void {
    this.#drop(this.#frames.length);
    this.#given = 0;
    this.#taken = 0;
  }

  #drop(count: number): void {
    for (const { size } of this.#frames.splice(0, count)) this.#bytes -= size;
    this.#sent = Math.max(0, this.#sent - count);
  }
}
