import { Buffer } from "node:buffer";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { PciDevice } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import {
  defaults,
  DISK_SIZE,
  fill,
  newDevice,
  oldDevice,
  type NewState,
  type OldState,
} from "./released-devices.js";

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

/** What there is of the image, for now or at all. */
async function read({ migration }: PciDevice): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = new Uint8Array(5000);
    const count = await migration!.readData(client, piece);
    if (count === 0) return Buffer.concat(pieces);
    pieces.push(piece.subarray(0, count));
  }
}

async function save({ device, state }: { device: PciDevice; state: OldState }): Promise<Buffer> {
  const migration = device.migration!;
  if (!state.disk) {
    await migration.setState(client, MigrationState.STOP_COPY);
    return read(device);
  }
  // Its first and its last page are written while it is read, and so is a register.
  const control = state.control;
  state.control = 1;
  await migration.setState(client, MigrationState.PRE_COPY);
  const pieces = [await read(device)];
  state.disk.fill(0xaa, 0, 1);
  pieces.push(await read(device));
  state.disk.fill(0xbb, DISK_SIZE - 1, DISK_SIZE);
  state.control = control;
  await migration.setState(client, MigrationState.STOP_COPY);
  return Buffer.concat([...pieces, await read(device)]);
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

function filledOld(withDisk = false) {
  const made = oldDevice(withDisk);
  fill(made.state);
  return made;
}

function filledNew(additions: Partial<NewState> = {}, withDisk = false) {
  const made = newDevice(withDisk);
  fill(made.state);
  Object.assign(made.state, additions);
  return made;
}
const additions = { prescaler: 16, filter: 0xf, statistics: 1000 };

/** A state with the bytes of its disk. */
function contentOf<S extends OldState>(state: S) {
  return { ...state, disk: state.disk && Buffer.from(state.disk.bytes).toString("hex") };
}

/** What the earlier device has after loading a stream: of format 2, with what was written meanwhile. */
function expectedOld(name: string) {
  const { state } = filledOld(name.startsWith("2"));
  state.disk?.fill(0xaa, 0, 1);
  state.disk?.fill(0xbb, DISK_SIZE - 1, DISK_SIZE);
  return contentOf(state);
}

/** Each kept stream, and how it is made. */
const streams = {
  "1-old": () => filledOld(),
  "1-new": () => filledNew(additions),
  "1-new-with-defaults": () => filledNew(),
  "1-new-with-statistics": () => filledNew({ statistics: 1000 }),
  "2-old": () => filledOld(true),
  "2-new": () => filledNew(additions, true),
  "2-new-with-defaults": () => filledNew({}, true),
};
const names = Object.keys(streams) as (keyof typeof streams)[];

describe("the streams of every release", () => {
  it.each(names)("%s: is still written byte by byte as it was", async (name) => {
    const made = await save(streams[name]());
    expect(made.equals(kept(name, made))).toBe(true);
  });

  it.each<[keyof typeof streams, Partial<NewState>]>([
    ["1-old", defaults],
    ["1-new", additions],
    ["1-new-with-defaults", defaults],
    ["1-new-with-statistics", { ...defaults, statistics: 1000 }],
    ["2-old", defaults],
    ["2-new", additions],
    ["2-new-with-defaults", defaults],
  ])("%s: loads into the later device, with defaults for what it lacks", async (name, expected) => {
    const target = newDevice(name.startsWith("2"));
    Object.assign(target.state, { prescaler: 3, filter: 3, statistics: 3 });
    await load(target.device, readFileSync(file(name)));
    expect(contentOf(target.state)).toEqual({ ...expectedOld(name), ...expected });
  });

  it.each(["1-old", "1-new-with-defaults", "1-new-with-statistics", "2-old", "2-new-with-defaults"] as const)(
    "%s: loads into the earlier device, which loses nothing that it knows",
    async (name) => {
      const target = oldDevice(name.startsWith("2"));
      await load(target.device, readFileSync(file(name)));
      expect(contentOf(target.state)).toEqual(expectedOld(name));
    },
  );

  it.each(["1-new", "2-new"] as const)(
    "%s: is refused by the earlier device, which would lose a part",
    async (name) => {
      const target = oldDevice(name.startsWith("2"));
      await expect(load(target.device, readFileSync(file(name)))).rejects.toThrow(
        "EINVAL: section registers: version 2, this device reads 1 to 1",
      );
      expect(target.state.control).toBe(0);
      expect(target.device.migration!.state).not.toBe(MigrationState.RUNNING);
    },
  );
});
