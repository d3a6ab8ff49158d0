import type { Socket } from "node:net";
import { within } from "./wait.js";

/** The far end of a serial card: what the guest's tty says is received here, and the other way round. */
export class Line implements Disposable {
  private received: Buffer[] = [];
  private size = 0;
  private wake: (() => void) | undefined;

  constructor(private readonly socket: Socket) {
    socket.on("data", (bytes: Buffer) => {
      this.received.push(bytes);
      this.size += bytes.length;
      this.wake?.();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => this.wake?.());
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** The next `count` bytes from the guest. */
  async take(count: number, seconds = 60): Promise<Buffer> {
    const enough = (async () => {
      while (this.size < count) {
        if (this.socket.destroyed) throw new Error("the card's line was closed");
        await new Promise<void>((resolve) => (this.wake = resolve));
      }
    })();
    await within(seconds, enough, () => `the line brought ${this.size} of ${count} bytes`);
    const all = Buffer.concat(this.received);
    this.received = [all.subarray(count)];
    this.size -= count;
    return all.subarray(0, count);
  }

  /** Forgets what came and was not taken. */
  drop(): void {
    this.received = [];
    this.size = 0;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
