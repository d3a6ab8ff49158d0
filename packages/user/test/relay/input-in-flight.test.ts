/** docs/relay.md, "Input in flight": what a move guarantees for what is on its way to the guest. */

import { expect, it } from "vitest";
import { serialCard, uartRegisters as reg, type SerialBackend, type SerialWire } from "@vfiokit/devices";
import { VfioUserClient, Relay } from "@vfiokit/user";
import { scratch, Served } from "../migrate/support.js";

/** A far end that always has more to send, and counts what the card has taken of it. */
class Sender implements SerialBackend {
  taken = 0;
  #wire: SerialWire | undefined;

  constructor(readonly bytes: Uint8Array) {}

  attach(wire: SerialWire): void {
    this.#wire = wire;
  }

  /** Not before the guest has set the card up: a change of FCR empties the FIFO. */
  start(): void {
    this.ready();
  }

  ready(): void {
    while (this.taken < this.bytes.length) {
      const count = this.#wire!.receive(this.bytes, this.taken, this.bytes.length);
      if (count === 0) return;
      this.taken += count;
    }
  }

  send(): boolean {
    return true;
  }

  close(): void {
    this.#wire = undefined;
  }
}

const EIGHT_BITS = 0x03;

const numbers = (from: number, count: number) =>
  Uint8Array.from({ length: count }, (_, i) => (from + i) & 0xff);

it("a guest that reads during moves gets each byte that a card had received, once and in order; the rest stays with the old line", async () => {
  using dir = scratch();
  const lines = [new Sender(numbers(0, 100_000)), new Sender(numbers(50, 64))] as const;
  const [first, second] = lines;
  await using a = await Served.start(serialCard({ backend: first }), dir.file("a"));
  await using b = await Served.start(serialCard({ backend: second }), dir.file("b"));
  const relay = new Relay({ listenPath: dir.file("relay"), serverPath: a.path });
  relay.listen();
  using client = await VfioUserClient.connect(dir.file("relay"));
  const byte = new Uint8Array(1);
  const read = async (register: number): Promise<number> => {
    await client.regionRead(0, register, byte);
    return byte[0]!;
  };
  await client.regionWrite(0, reg.LCR, Uint8Array.of(EIGHT_BITS));
  await client.regionWrite(0, reg.FCR, Uint8Array.of(reg.FCR_FIFO_ENABLE));
  first.start();
  second.start();

  const seen: number[] = [];
  const over = new AbortController();
  const guest = (async () => {
    while (!over.signal.aborted) if ((await read(reg.LSR)) & reg.LSR_DR) seen.push(await read(reg.RBR));
  })();
  await expect.poll(() => seen.length).toBeGreaterThan(100);
  // These it has received as another device, whose state the move replaces.
  let dropped = 0;
  let received = 0;
  await relay.migrate(b.path, {
    maxDowntime_ms: 300,
    maxRounds: 3,
    // The card is stopped. When it is reset, after the move, it takes more from its line, which is nobody's then.
    fault: (point) => {
      if (point.startsWith("give:")) received = first.taken;
      if (point.startsWith("prepare:")) dropped ||= second.taken;
    },
  });
  await expect.poll(() => seen.length).toBe(received + second.bytes.length - dropped);
  over.abort();
  await guest;
  expect(seen.slice(0, received)).toEqual([...numbers(0, received)]);
  expect(seen.slice(received)).toEqual([...numbers(50 + dropped, 64 - dropped)]);
  client.close();
  await relay.close();
});
