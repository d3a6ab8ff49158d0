import type { Socket } from "node:net";
import { VfioError } from "@vfiokit/core";
import {
  decodeFrame,
  encodeFrame,
  Header,
  readHeader,
  type Frame,
  type FrameName,
  type FrameValue,
  type Side,
} from "./protocol.js";

/** How long a side that ends a connection waits for the other to read its last words. Milliseconds. */
const FAREWELL_MS = 1000;

/** The connection could not be made, or broke, or nothing comes over it: another one may work. */
export class BrokenConnection extends VfioError {}

/**
 * Frames over a socket. What is not asked for stays in the socket: at most one frame and Node's read buffer are held,
 * so a side that does not read holds up the other.
 */
export class FrameSocket {
  readonly #waiting = new Set<() => void>();
  #error: Error | undefined;
  /** Called when there is room again, after there was none. */
  onRoom: () => void = () => undefined;

  /** @param peer whose frames are read here */
  constructor(
    private readonly socket: Socket,
    private readonly peer: Side,
  ) {
    socket.on("error", (error) => (this.#error ??= error));
    for (const event of ["readable", "end", "drain", "close"]) socket.on(event, () => this.#wake());
    socket.on("drain", () => this.onRoom());
  }

  get closed(): boolean {
    return this.socket.destroyed;
  }

  /**
   * The next frame; undefined: the other side has ended the connection, between two frames.
   * @param idle_ms how long nothing at all may arrive
   * @throws WireError: no valid frame; BrokenConnection ETIMEDOUT, ECONNRESET
   */
  async read(idle_ms: number): Promise<Frame | undefined> {
    const header = await this.#take(Header.size, idle_ms);
    if (!header) return undefined;
    const { name, length } = readHeader(header, this.peer);
    const payload = length === 0 ? new Uint8Array() : await this.#take(length, idle_ms);
    if (!payload) throw new BrokenConnection("ECONNRESET", `the connection broke in the middle of ${name}`);
    return decodeFrame(name, payload);
  }

  /** Whether more can be sent without waiting for the other side to read. */
  get hasRoom(): boolean {
    return !this.closed && !this.socket.writableNeedDrain;
  }

  /** Settles when there is room, or no connection any more. @throws BrokenConnection ETIMEDOUT */
  async room(idle_ms: number): Promise<void> {
    while (!this.closed && this.socket.writableNeedDrain) await this.#change(idle_ms);
  }

  send<N extends FrameName>(name: N, value: FrameValue<N>): void {
    this.write(encodeFrame(name, value));
  }

  /** Sends a frame that is encoded already, and must not change any more. On a broken connection: nothing. */
  write(frame: Uint8Array): void {
    if (this.socket.writable) this.socket.write(frame);
  }

  /** Ends the connection once the other side has what was sent, or after a second. */
  end(): void {
    this.socket.end();
    // What still arrives has to be read: closing on unread bytes would reset the connection, last words included.
    this.socket.removeAllListeners("readable").resume();
    const timer = setTimeout(() => this.destroy(), FAREWELL_MS);
    this.socket.once("close", () => clearTimeout(timer));
  }

  destroy(): void {
    this.socket.destroy();
    this.#wake();
  }

  /** The next `count` bytes; undefined: the stream ends before the first of them. */
  async #take(count: number, idle_ms: number): Promise<Uint8Array | undefined> {
    for (;;) {
      const bytes = this.socket.read(count) as Buffer | null;
      if (bytes?.length === count) return bytes;
      if (bytes) throw new BrokenConnection("ECONNRESET", "the connection broke in the middle of a frame");
      if (this.#error)
        throw new BrokenConnection("ECONNRESET", `the connection broke: ${this.#error.message}`);
      if (this.socket.readableEnded || this.closed) return undefined;
      await this.#change(idle_ms);
    }
  }

  /** Settles when something has happened at the socket. @throws BrokenConnection ETIMEDOUT */
  #change(idle_ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(settle);
        reject(new BrokenConnection("ETIMEDOUT", `nothing has arrived for ${idle_ms / 1000} s`));
      }, idle_ms);
      const settle = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#waiting.add(settle);
    });
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const settle of waiting) settle();
  }
}
