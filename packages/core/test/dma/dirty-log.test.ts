import { DmaAddressSpace } from "@vfiokit/core";
import { DirtyLog, dirtyBitmapSize } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { FileBacking, HeldClient, MappedBacking, request } from "./memory.js";

const PAGE = 4096n;
const GiB = 1n << 30n;
const TiB = 1n << 40n;

/** A log of everything, with some page frames written. */
function logOf(...frames: number[]): DirtyLog {
  const log = new DirtyLog();
  log.start(PAGE, []);
  for (const frame of frames) log.mark(frame, frame + 1);
  return log;
}

/** Numbers of the bits that are set. */
function bits(bitmap: Uint8Array): number[] {
  const set: number[] = [];
  bitmap.forEach((byte, i) => {
    for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) set.push(i * 8 + bit);
  });
  return set;
}

describe("DMA_LOGGING_START", () => {
  it.each([
    ["zero", 0n],
    ["three pages", 3n * PAGE],
    ["negative", -4096n],
  ])("refuses a page size of %s", (_name, pageSize) => {
    expect(() => new DirtyLog().start(pageSize, [])).toThrow("EINVAL");
  });

  it.each([PAGE, 2n * PAGE, 1n << 21n, GiB, 1n << 63n])("takes a page size of %i", (pageSize) => {
    expect(new DirtyLog().start(pageSize, [])).toBe(pageSize);
  });

  it("selects 4 KiB where finer pages are asked for (vfio-user: a hint)", () => {
    expect(new DirtyLog().start(512n, [])).toBe(PAGE);
  });

  it("the same once more goes on, and clears nothing", () => {
    const log = new DirtyLog();
    const ranges = [{ address: 0n, size: GiB }];
    log.start(PAGE, ranges);
    log.mark(5, 6);
    log.start(PAGE, [{ address: 0n, size: GiB }]);
    expect(bits(log.report(0n, GiB, PAGE))).toEqual([5]);
  });

  it.each([
    ["page size", 2n * PAGE, [{ address: 0n, size: GiB }]],
    ["range", PAGE, [{ address: 0n, size: 2n * GiB }]],
    ["number of ranges", PAGE, []],
  ])("another %s while started is refused", (_name, pageSize, ranges) => {
    const log = new DirtyLog();
    log.start(PAGE, [{ address: 0n, size: GiB }]);
    expect(() => log.start(pageSize, ranges)).toThrow("EINVAL");
    expect(log.active).toBe(true);
  });

  it.each([
    ["empty", [{ address: 0n, size: 0n }], "EINVAL"],
    ["misaligned", [{ address: 0x800n, size: PAGE }], "EINVAL"],
    ["of an odd length", [{ address: 0n, size: 0x1800n }], "EINVAL"],
    ["beyond 2^64", [{ address: (1n << 64n) - PAGE, size: 2n * PAGE }], "EOVERFLOW"],
    [
      "overlapping",
      [
        { address: PAGE, size: 2n * PAGE },
        { address: 0n, size: 2n * PAGE },
      ],
      "EINVAL",
    ],
  ])("refuses a range that is %s", (_name, ranges, code) => {
    const log = new DirtyLog();
    expect(() => log.start(PAGE, ranges)).toThrow(code);
    expect(log.active).toBe(false);
  });

  it("refuses a range that is no multiple of its page size", () => {
    expect(() => new DirtyLog().start(2n * PAGE, [{ address: PAGE, size: 2n * PAGE }])).toThrow("EINVAL");
  });
});

describe("DMA_LOGGING_STOP", () => {
  it("forgets what was written", () => {
    const log = logOf(1);
    log.stop();
    expect(() => log.report(0n, GiB, PAGE)).toThrow("EINVAL");
    log.start(PAGE, []);
    expect(bits(log.report(0n, GiB, PAGE))).toEqual([]);
  });

  it("without a start is no error", () => {
    expect(() => new DirtyLog().stop()).not.toThrow();
  });
});

describe("DMA_LOGGING_REPORT", () => {
  it("has a bit for each page, from the start of the range, and is cleared by reading", () => {
    const log = logOf(16, 23, 24, 100);
    const bitmap = log.report(16n * PAGE, 32n * PAGE, PAGE);
    expect(bitmap).toHaveLength(8);
    expect(bits(bitmap)).toEqual([0, 7, 8]);
    expect(bits(log.report(16n * PAGE, 32n * PAGE, PAGE))).toEqual([]);
    expect(bits(log.report(0n, GiB, PAGE))).toEqual([100]);
  });

  it("is whole 64-bit words", () => {
    expect(dirtyBitmapSize(PAGE, PAGE)).toBe(8);
    expect(dirtyBitmapSize(64n * PAGE, PAGE)).toBe(8);
    expect(dirtyBitmapSize(65n * PAGE, PAGE)).toBe(16);
    expect(dirtyBitmapSize(PAGE, GiB)).toBe(8);
    expect(dirtyBitmapSize(TiB, PAGE)).toBe(32 << 20);
  });

  it("combines pages where larger ones are asked for", () => {
    expect(bits(logOf(0, 6, 9, 10).report(0n, 16n * PAGE, 2n * PAGE))).toEqual([0, 3, 4, 5]);
    expect(bits(logOf(40, 600).report(0n, 1024n * PAGE, 512n * PAGE))).toEqual([0, 1]);
    expect(bits(logOf(7).report(0n, 16n * PAGE, 1n << 62n))).toEqual([0]);
  });

  it("repeats pages where smaller ones are asked for", () => {
    expect(bits(logOf(0, 6, 7).report(0n, 16n * PAGE, PAGE / 2n))).toEqual([0, 1, 12, 13, 14, 15]);
  });

  it("of a part of a range begins at that part, whatever the page size", () => {
    // Pages of 16 KiB from frame 3 on: frames 3-6, 7-10, 11 and 12.
    expect(bits(logOf(2, 6, 11, 13).report(3n * PAGE, 10n * PAGE, 4n * PAGE))).toEqual([0, 2]);
  });

  it("over the chunks of the storage", () => {
    const log = new DirtyLog();
    log.start(PAGE, []);
    log.mark(262_142, 524_290); // a GiB, and two pages before and behind it
    const set = bits(log.report(262_100n * PAGE, 300_000n * PAGE, PAGE));
    expect([set[0], set.length, set.at(-1)]).toEqual([42, 262_148, 524_289 - 262_100]);
  });

  it("clears what it reports and nothing else, word by word or as a copy", () => {
    for (const [first, pages] of [
      [32, 64], // whole words of the storage
      [262_144 - 32, 262_144 + 64], // and a whole chunk of it
      [31, 66],
      [40, 3],
    ] as const) {
      const log = new DirtyLog();
      log.start(PAGE, []);
      log.mark(0, 600_000);
      const reported = bits(log.report(BigInt(first) * PAGE, BigInt(pages) * PAGE, PAGE));
      expect([reported.length, reported[0], reported.at(-1)]).toEqual([pages, 0, pages - 1]);
      const rest = bits(log.report(0n, 600_000n * PAGE, PAGE));
      expect([rest.length, rest.indexOf(first - 1), rest[first]]).toEqual([
        600_000 - pages,
        first - 1,
        first + pages,
      ]);
    }
  });

  it("at the end of the address space", () => {
    const last = 2 ** 52 - 1;
    expect(bits(logOf(last, last - 1).report((1n << 64n) - 4n * PAGE, 4n * PAGE, PAGE))).toEqual([2, 3]);
  });

  it("knows only the ranges that are logged", () => {
    const log = new DirtyLog();
    log.start(PAGE, [
      { address: GiB, size: GiB },
      { address: 4n * GiB, size: PAGE },
      { address: 2n * GiB, size: GiB },
    ]);
    log.mark(0, 2 ** 21); // all of 8 GiB
    expect(bits(log.report(2n * GiB - PAGE, 2n * PAGE, PAGE))).toEqual([0, 1]); // adjacent ranges
    expect(bits(log.report(4n * GiB, PAGE, PAGE))).toEqual([0]);
    for (const [address, size] of [
      [0n, PAGE],
      [GiB - PAGE, 2n * PAGE],
      [3n * GiB - PAGE, 2n * PAGE],
      [4n * GiB, 2n * PAGE],
    ] as const)
      expect(() => log.report(address, size, PAGE)).toThrow("not in the ranges that are logged");
  });

  it.each([
    ["before START", undefined, 0n, GiB, PAGE, "EINVAL"],
    ["with a page size that is no power of two", PAGE, 0n, GiB, 3n, "EINVAL"],
    ["with no page size", PAGE, 0n, GiB, 0n, "EINVAL"],
    ["of nothing", PAGE, 0n, 0n, PAGE, "EINVAL"],
    ["of parts of pages", PAGE, 1n, PAGE, PAGE, "EINVAL"],
    ["beyond 2^64", PAGE, PAGE, 1n << 64n, PAGE, "EOVERFLOW"],
    ["of more bits than there is memory for", PAGE, 0n, 1n << 64n, PAGE, "ENOMEM"],
  ])("%s is refused", (_name, started, address, size, pageSize, code) => {
    const log = new DirtyLog();
    if (started) log.start(started, []);
    expect(() => log.report(address, size, pageSize)).toThrow(code);
  });

  it("of 1 TiB finds the few pages that are dirty", () => {
    const log = new DirtyLog();
    log.start(PAGE, [{ address: 0n, size: TiB }]);
    const frames = [0, 12345678, 2 ** 28 - 1];
    for (const frame of frames) log.mark(frame, frame + 1);
    const bitmap = log.report(0n, TiB, PAGE);
    for (const frame of frames) {
      expect(bitmap[frame >> 3]).toBe(1 << (frame & 7));
      bitmap[frame >> 3] = 0;
    }
    expect(bitmap.every((byte) => byte === 0)).toBe(true);
  });
});

describe("every way a device writes is logged", () => {
  const task = new Task("client");

  function space(): { dma: DmaAddressSpace; client: HeldClient } {
    const dma = new DmaAddressSpace();
    const client = new HeldClient();
    dma.clientMemory = client;
    void dma.map(task, request(0n, 0x4000n, new MappedBacking(0x4000)));
    void dma.map(task, request(0x4000n, 0x4000n, new FileBacking(0x4000)));
    void dma.map(task, request(0x8000n, 0x4000n, undefined));
    dma.dirtyLog.start(PAGE, []);
    return { dma, client };
  }
  const report = (dma: DmaAddressSpace): number[] => bits(dma.dirtyLog.report(0n, 64n * PAGE, PAGE));

  it("to mapped memory, the last byte of a page and the first of the next too", () => {
    const { dma } = space();
    void dma.write(0x1fff, new Uint8Array(1));
    expect(report(dma)).toEqual([1]);
    void dma.write(0x1fff, new Uint8Array(2));
    expect(report(dma)).toEqual([1, 2]);
    void dma.write(0x2000, new Uint8Array(0x1000));
    expect(report(dma)).toEqual([2]);
  });

  it("to a file, and over maps", () => {
    const { dma } = space();
    void dma.write(0x5000, new Uint8Array(1));
    expect(report(dma)).toEqual([5]);
    void dma.write(0x2800, new Uint8Array(0x2000));
    expect(report(dma)).toEqual([2, 3, 4]);
  });

  it("on behalf of a task that holds locks, as an image that is read straight to the client", async () => {
    const { dma } = space();
    const reader = new Task("reader");
    await dma.write(0x1ffe, new Uint8Array(4), reader);
    expect(report(dma)).toEqual([1, 2]);
    await dma.write(0x4000, new Uint8Array(1), reader);
    expect(report(dma)).toEqual([4]);
  });

  it("behind a map that waits, once it is done", async () => {
    const { dma, client } = space();
    const reading = dma.read(0x9000, new Uint8Array(1)); // holds mmapLock until the client answers
    const unmapping = dma.unmap(task, 0x4000n, 0x4000n);
    const writing = dma.write(0x1000, new Uint8Array(1)); // behind the unmap
    expect(report(dma)).toEqual([]);
    client.messages[0]!.answer();
    await Promise.all([reading, unmapping, writing]);
    expect(report(dma)).toEqual([1]);
  });

  it("in place, even if it fails half way", () => {
    const { dma } = space();
    dma.modify(0x1800, 0x1000, (memory) => memory.fill(1));
    expect(report(dma)).toEqual([1, 2]);
    expect(() =>
      dma.modify(0, 1, () => {
        throw new Error("device bug");
      }),
    ).toThrow("device bug");
    expect(report(dma)).toEqual([0]);
  });

  it("by message, when the client has written and not before", async () => {
    const { dma, client } = space();
    const writing = dma.write(0x9000, new Uint8Array(1));
    expect(report(dma)).toEqual([]);
    client.messages[0]!.answer();
    await writing;
    expect(report(dma)).toEqual([9]);
  });

  it("by message that fails, since the client may have written a part", async () => {
    const { dma, client } = space();
    const writing = dma.write(0x9000, new Uint8Array(1));
    client.messages[0]!.fail(new Error("gone"));
    await expect(writing).rejects.toThrow("gone");
    expect(report(dma)).toEqual([9]);
  });

  it("but neither reads, nor views, nor what is refused", async () => {
    const { dma, client } = space();
    void dma.read(0, new Uint8Array(16));
    dma.view(0, 16);
    expect(() => dma.write(0xfff0n + 0x10000n, new Uint8Array(32))).toThrow("EFAULT");
    const reading = dma.read(0x9000, new Uint8Array(1));
    client.messages[0]!.answer();
    await reading;
    expect(report(dma)).toEqual([]);
  });

  it("and nothing before START", () => {
    const { dma } = space();
    dma.dirtyLog.stop();
    void dma.write(0, new Uint8Array(16));
    dma.dirtyLog.start(PAGE, []);
    expect(report(dma)).toEqual([]);
  });
});
