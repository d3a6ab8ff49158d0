import { Buffer } from "node:buffer";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MigrationState, type PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { defaults, fill, newDevice, oldDevice, type NewState } from "./released-devices.js";

/**
 * The streams of every release, kept in `streams/` (FORMAT-DEVICE.bin). They are never made again: a test that fails
 * here means that somebody's image does not load any more. The first stream of a new kind is written by running this file
 * with WRITE_STREAMS=1, which leaves those that are there alone.
 */
const file = (name: string) => new URL(`./streams/${name}.bin`, import.meta.url);

beforeEach(() => {
  vi.spyOn(crypto, "getRandomValues").mockImplementation((into) => {
    if (into instanceof Uint8Array) into.set(Array.from(into, (_, i) => 0xa0 + i));
    return into;
  });
});
afterEach(() => void vi.restoreAllMocks());

const client = new Task("client");

async function save({ migration }: PciDevice): Promise<Buffer> {
  await migration!.setState(client, MigrationState.STOP_COPY);
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = new Uint8Array(5000);
    const count = await migration!.readData(client, piece);
    if (count === 0) return Buffer.concat(pieces);
    pieces.push(piece.subarray(0, count));
  }
}

async function load({ migration }: PciDevice, stream: Uint8Array): Promise<void> {
  await migration!.setState(client, MigrationState.RESUMING);
  await migration!.writeData(client, stream);
  await migration!.setState(client, MigrationState.RUNNING);
}

function kept(name: string, made: Buffer): Buffer {
  if (env["WRITE_STREAMS"] && !existsSync(file(name))) writeFileSync(file(name), made);
  return readFileSync(file(name));
}

function filledOld() {
  const made = oldDevice();
  fill(made.state);
  return made;
}

function filledNew(additions: Partial<NewState> = {}) {
  const made = newDevice();
  fill(made.state);
  Object.assign(made.state, additions);
  return made;
}
const additions = { prescaler: 16, filter: 0xf, statistics: 1000 };

/** Each kept stream, and how it is made. */
const streams = {
  "1-old": filledOld,
  "1-new": () => filledNew(additions),
  "1-new-with-defaults": () => filledNew(),
  "1-new-with-statistics": () => filledNew({ statistics: 1000 }),
};
const names = Object.keys(streams) as (keyof typeof streams)[];

describe("the streams of every release", () => {
  it.each(names)("%s: is still written byte by byte as it was", async (name) => {
    const made = await save(streams[name]().device);
    expect(made.equals(kept(name, made))).toBe(true);
  });

  it.each<[keyof typeof streams, Partial<NewState>]>([
    ["1-old", defaults],
    ["1-new", additions],
    ["1-new-with-defaults", defaults],
    ["1-new-with-statistics", { ...defaults, statistics: 1000 }],
  ])("%s: loads into the later device, with defaults for what it lacks", async (name, expected) => {
    const target = newDevice();
    Object.assign(target.state, { prescaler: 3, filter: 3, statistics: 3 });
    await load(target.device, readFileSync(file(name)));
    expect(target.state).toEqual({ ...filledOld().state, ...expected });
  });

  it.each(["1-old", "1-new-with-defaults", "1-new-with-statistics"] as const)(
    "%s: loads into the earlier device, which loses nothing that it knows",
    async (name) => {
      const target = oldDevice();
      await load(target.device, readFileSync(file(name)));
      expect(target.state).toEqual(filledOld().state);
    },
  );

  it("1-new: is refused by the earlier device, which would lose a part", async () => {
    const target = oldDevice();
    await expect(load(target.device, readFileSync(file("1-new")))).rejects.toThrow(
      "EINVAL: section registers: version 2, this device reads 1 to 1",
    );
    expect(target.state.control).toBe(0);
    expect(target.device.migration!.state).not.toBe(MigrationState.RUNNING);
  });
});
