import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { memoryCardRegisters as memory, uartRegisters as uart } from "@vfiokit/devices";
import { describe, expect, it } from "vitest";
import { scratch, Vfiokit } from "../../packages/cli/test/vfiokit.js";
import {
  barRead,
  barWrite,
  configWrite,
  MEMORY_SIZE,
  sampleClient,
  type Card,
} from "./libvfio-user-client.js";
import { play, type Played } from "./player.js";

/** Plays the sample client against two server processes of a card. */
async function migrate(card: Card, ...device: string[]): Promise<Played> {
  using folder = scratch();
  const servers = { source: folder.file("source.sock"), destination: folder.file("destination.sock") };
  const serve = (socket: string): Vfiokit =>
    Vfiokit.start(["serve", ...device, "--json", "--socket-path", socket]);
  await using source = serve(servers.source);
  await using destination = serve(servers.destination);
  await Promise.all([source.says(/\n/), destination.says(/\n/)]);
  const played = await play(sampleClient(card), servers, MEMORY_SIZE);
  expect(await Promise.all([source.kill("SIGTERM"), destination.kill("SIGTERM")])).toEqual([0, 0]);
  expect([source.stderr, destination.stderr].join("")).not.toMatch(/error|internal/i);
  return played;
}

const PAGES = 32;

describe("libvfio-user's sample client, message by message, against two of our server processes", () => {
  it("migrates the serial card, whose pending interrupt arrives at the destination", async () => {
    const byte = (register: number, value: number) => barWrite(register, value, 1);
    const { imageBytes } = await migrate(
      {
        vendor: 0x1b36,
        device: 0x0002,
        bar0: 8n,
        raise: [
          byte(uart.MCR, uart.MCR_OUT2),
          byte(uart.IER, uart.IER_ETBEI), // the transmitter is empty, which is a reason at once
        ],
        prepare: [
          byte(uart.SCR, 0x5a),
          barRead(uart.IIR, uart.IIR_THR_EMPTY, 1),
          byte(uart.IER, 0),
          byte(uart.IER, uart.IER_ETBEI), // again, for the next driver to find
        ],
        meanwhile: byte(uart.SCR, 0xa5),
        arrived: [barRead(uart.SCR, 0xa5, 1), barRead(uart.IER, uart.IER_ETBEI, 1)],
      },
      ...["serial", "--chardev", "null"],
    );
    expect(imageBytes).toBeGreaterThan(1024); // more than one message
  });

  it("migrates a card with memory that its guest writes meanwhile", async () => {
    const fill = (page: number, count: number, seed: number) => [
      barWrite(memory.PAGE, page),
      barWrite(memory.COUNT, count),
      barWrite(memory.SEED, seed),
      barWrite(memory.COMMAND, memory.COMMAND_FILL),
    ];
    const verify = [barWrite(memory.COMMAND, memory.COMMAND_VERIFY), barRead(memory.STATUS, 0)];
    const { imageBytes } = await migrate(
      {
        vendor: 0x1b36,
        device: 0x0103,
        bar0: 0x1000n,
        prepare: [
          configWrite(PciHeader.COMMAND, PciCommand.MEMORY), // our BARs decode nothing before
          ...fill(0, PAGES, 7),
          barWrite(memory.ADDRESS, 0x100),
        ],
        // Word after word, in a page that was sent already.
        meanwhile: barWrite(memory.DATA, 0xc0ffee),
        arrived: [
          ...verify,
          barWrite(memory.ADDRESS, 0x100),
          ...Array.from({ length: 12 }, () => barRead(memory.DATA, 0xc0ffee)),
        ],
      },
      ...["memory-card", "--size", `${PAGES * 4}K`],
    );
    expect(imageBytes).toBeGreaterThan(PAGES * 4096);
  });
});
