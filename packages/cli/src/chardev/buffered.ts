import type { SerialBackend, SerialWire } from "@vfiokit/devices";

/** What a stream of bytes must offer to be the far end of a serial line. */
export interface Endpoint {
  /**
   * Takes a prefix of the bytes and returns its length: 0 if it can take none at the moment. After less than all
   * of them it calls `BufferedBackend.writable()` once it can take more. The bytes are only lent.
   */
  write(bytes: Uint8Array): number;
  /** Whether bytes should be read and given to `BufferedBackend.offer()`. */
  setReading(on: boolean): void;
  /** Delivers the last bytes, as far as somebody is there to take them, and closes. */
  close(rest: Uint8Array): void;
}

/** Characters that the card has sent and the endpoint has not taken: enough for a guest's whole boot log. */
const CAPACITY = 64 * 1024;

/**
 * Between a card, which sends one character at a time, and a stream, which is better written in pieces. Full
 * buffers make the card wait, a full card makes the stream wait: nothing is lost.
 */
export class BufferedBackend implements SerialBackend {
  private wire: SerialWire | undefined;
  private readonly out = new Uint8Array(CAPACITY);
  private outLength = 0;
  private flushing: NodeJS.Immediate | undefined;
  private cardWaits = false;
  /** What the card has not taken yet. */
  private held: Uint8Array = new Uint8Array(0);
  private heldFrom = 0;

  constructor(private readonly endpoint: Endpoint) {}

  attach(wire: SerialWire): void {
    this.wire = wire;
    this.endpoint.setReading(true);
  }

  send(character: number): boolean {
    if (this.outLength === CAPACITY) {
      this.cardWaits = true;
      return false;
    }
    this.out[this.outLength++] = character;
    // What is sent in one turn of the event loop goes out together.
    this.flushing ??= setImmediate(this.flush);
    return true;
  }

  ready(): void {
    this.heldFrom += this.wire!.receive(this.held, this.heldFrom, this.held.length);
    if (this.heldFrom === this.held.length) this.endpoint.setReading(true);
  }

  close(): void {
    clearImmediate(this.flushing);
    this.endpoint.setReading(false);
    this.endpoint.close(this.out.subarray(0, this.outLength));
    this.outLength = 0;
  }

  /** The endpoint has read these bytes. They are kept until the card has taken them. */
  offer(bytes: Uint8Array): void {
    // Behind what the card has not taken yet, if the endpoint read more before it stopped.
    const waiting = this.held.length - this.heldFrom;
    const taken = waiting > 0 ? 0 : this.wire!.receive(bytes, 0, bytes.length);
    if (taken === bytes.length) return;
    this.held = Buffer.concat([this.held.subarray(this.heldFrom), bytes.subarray(taken)]);
    this.heldFrom = 0;
    this.endpoint.setReading(false);
  }

  /** The endpoint can take more. */
  writable(): void {
    this.flush();
  }

  private readonly flush = (): void => {
    this.flushing = undefined;
    if (this.outLength === 0) return;
    const taken = this.endpoint.write(this.out.subarray(0, this.outLength));
    this.out.copyWithin(0, taken, this.outLength);
    this.outLength -= taken;
    if (this.cardWaits && this.outLength < CAPACITY) {
      this.cardWaits = false;
      this.wire!.writable();
    }
  };
}
