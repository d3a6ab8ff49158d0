import { Task } from "@vfiokit/lockdep";
import { socketPair } from "@vfiokit/user/linux";
import { describe, expect, it } from "vitest";
import { VfioUserClient } from "../../src/client/index.js";
import { VfioUserServer } from "../../src/server/index.js";
import { testDevice } from "../server/support.js";

const PAGE = 4096n;
const TiB = 1n << 40n;

/** A client of a server whose device logs what it writes. */
async function logging(maxDataXferSize?: number) {
  const { device } = testDevice();
  const [ours, theirs] = socketPair();
  const server = new VfioUserServer(device, {
    fd: theirs.release(),
    ...(maxDataXferSize !== undefined && { maxDataXferSize }),
  });
  await server.listen();
  const client = await VfioUserClient.connect(ours);
  await client.migration.startLogging(PAGE);
  return {
    migration: client.migration,
    write: (frame: number) => device.dma.dirtyLog.mark(frame, frame + 1),
    async [Symbol.asyncDispose]() {
      client.close();
      await server.close();
      await device.close(new Task("test"));
    },
  };
}

/** Numbers of the bits that are set. */
function bits(bitmap: Uint8Array): number[] {
  const set: number[] = [];
  for (let at = bitmap.findIndex((byte) => byte !== 0); at >= 0 && at < bitmap.length; at++)
    for (let bit = 0; bit < 8; bit++) if (bitmap[at]! & (1 << bit)) set.push(at * 8 + bit);
  return set;
}

describe("a dirty report whose bitmap is larger than a message", () => {
  it("is asked for in pieces: 1 TiB at 4 KiB pages, in messages of 1 MiB", async () => {
    await using dirty = await logging();
    const frames = [0, 2 ** 23 - 1, 2 ** 23, 12_345_678, 2 ** 28 - 1]; // a message reports 2^23 pages
    for (const frame of frames) dirty.write(frame);
    const bitmap = await dirty.migration.dirtyPages({ iova: 0n, length: TiB }, PAGE);
    expect(bitmap).toHaveLength(32 * 1024 * 1024);
    expect(bits(bitmap)).toEqual(frames);
    // Reading has cleared it.
    expect(bits(await dirty.migration.dirtyPages({ iova: 0n, length: TiB / 16n }, PAGE))).toEqual([]);
  }, 60_000);

  it("with pages of any size, and a length that is no multiple of a piece", async () => {
    await using dirty = await logging(4096);
    for (const frame of [5, 70_001, 270_000]) dirty.write(frame);
    const length = 300_001n * PAGE; // 2 pages each: 18,752 bytes, in 5 messages
    expect(bits(await dirty.migration.dirtyPages({ iova: PAGE, length }, 2n * PAGE))).toEqual([
      2, 35_000, 134_999,
    ]);
  });

  it("of more than 1 GiB is refused before anything is asked", async () => {
    await using dirty = await logging();
    dirty.write(7);
    await expect(dirty.migration.dirtyPages({ iova: 0n, length: 1n << 62n }, PAGE)).rejects.toMatchObject({
      code: "EINVAL",
    });
    expect(bits(await dirty.migration.dirtyPages({ iova: 0n, length: 64n * PAGE }, PAGE))).toEqual([7]);
  });
});
