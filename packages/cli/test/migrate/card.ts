import { RegionIndex } from "@vfiokit/core";
import { memoryCardRegisters as Register } from "@vfiokit/devices";
import { VfioUserClient } from "@vfiokit/user";
import { Vfiokit } from "../vfiokit.js";

/** `vfiokit serve memory-card` at a path, once it listens. */
export async function serveCard(path: string, ...args: string[]): Promise<Vfiokit> {
  const server = Vfiokit.start(["serve", "memory-card", "--socket-path", path, "--size", "1M", ...args]);
  await server.says(/\n/);
  return server;
}

/** PCI 3.0 §6.2.2: the command register, and its bit 1: Memory Space. */
const COMMAND = 0x04;
const COMMAND_MEMORY = Uint8Array.of(0x02, 0x00);

async function withRegisters<T>(
  path: string,
  use: (
    read: (offset: number) => Promise<number>,
    write: (offset: number, value: number) => Promise<void>,
  ) => Promise<T>,
): Promise<T> {
  using client = await VfioUserClient.connect(path);
  await client.regionWrite(RegionIndex.CONFIG, COMMAND, COMMAND_MEMORY);
  const read = async (offset: number) => {
    const bytes = new Uint8Array(4);
    await client.regionRead(0, offset, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  };
  const write = async (offset: number, value: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    await client.regionWrite(0, offset, bytes);
  };
  return await use(read, write);
}

/** Waits for the end of a command. @returns its STATUS */
async function done(read: (offset: number) => Promise<number>): Promise<number> {
  for (;;) {
    const status = await read(Register.STATUS);
    if ((status & Register.STATUS_BUSY) === 0) return status;
  }
}

/** Fills the card's memory. @returns the sum over it */
export function fillCard(path: string, seed: number): Promise<number> {
  return withRegisters(path, async (read, write) => {
    await write(Register.COUNT, await read(Register.SIZE));
    await write(Register.SEED, seed);
    await write(Register.COMMAND, Register.COMMAND_FILL);
    await done(read);
    return read(Register.SUM);
  });
}

/** The sum over the card's memory, once the card itself has found that it is right. */
export function sumOfCard(path: string): Promise<number> {
  return withRegisters(path, async (read, write) => {
    await write(Register.COMMAND, Register.COMMAND_VERIFY);
    if ((await done(read)) !== 0) throw new Error("the card's memory is not what was written to it");
    return read(Register.SUM);
  });
}

/** Where a device is in its migration, as its administrator sees it. */
export async function phaseOf(path: string): Promise<{ phase: string; state: string }> {
  const { stdout } = await Vfiokit.run("ctl", path, "hand-over", "status", "--json");
  const { phase, state } = JSON.parse(stdout) as { phase: string; state: string };
  return { phase, state };
}
