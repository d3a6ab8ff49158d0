import type { Writable } from "node:stream";

/**
 * Writes to a Node stream with its own back-pressure: after `write` of the stream has returned false nothing more
 * is given to it until it has drained.
 */
export class NodeSink {
  private full = false;

  /** @param drained called when it can take bytes again */
  constructor(
    private readonly stream: Writable,
    drained: () => void,
  ) {
    stream.on("drain", () => {
      this.full = false;
      drained();
    });
  }

  /** How many of the bytes it took. The stream gets a copy: the bytes are only lent. */
  write(bytes: Uint8Array): number {
    if (this.full) return 0;
    this.full = !this.stream.write(Buffer.from(bytes));
    return bytes.length;
  }

  /** Ends the stream with these bytes, whether or not it is full. */
  end(rest: Uint8Array): void {
    this.stream.end(Buffer.from(rest));
  }
}
