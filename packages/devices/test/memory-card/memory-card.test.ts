import { describe, expect, it } from "vitest";
import { memoryCard, memoryCardRegisters as reg } from "@vfiokit/devices";
import { Bench, SIZE } from "./bench.js";

describe("the memory card", () => {
  it("tells its size in pages", () => {
    expect(new Bench().read(reg.SIZE)).toBe(16);
  });

  it("is reached through a window of four bytes that moves on", () => {
    const bench = new Bench();
    bench.write(reg.ADDRESS, 0x1003); // the low bits do not exist
    bench.write(reg.DATA, 0x11223344);
    bench.write(reg.DATA, 0xffffffff);
    expect(bench.read(reg.ADDRESS)).toBe(0x1008);
    bench.write(reg.ADDRESS, 0x1000);
    expect([bench.read(reg.DATA), bench.read(reg.DATA), bench.read(reg.DATA)]).toEqual([
      0x11223344, 0xffffffff, 0,
    ]);
    expect(bench.card.memory.bytes.subarray(0x1000, 0x1004)).toEqual(Uint8Array.of(0x44, 0x33, 0x22, 0x11));
  });

  it("has nothing beyond its end", () => {
    const bench = new Bench();
    bench.write(reg.ADDRESS, SIZE - 4);
    bench.write(reg.DATA, 1);
    bench.write(reg.DATA, 2);
    expect(bench.read(reg.DATA)).toBe(0);
    expect(bench.read(reg.ADDRESS)).toBe(SIZE);
    bench.write(reg.ADDRESS, 0xfffffffc);
    bench.write(reg.DATA, 3);
    expect(bench.verify()).toBe(0);
  });

  it("fills pages: the same seed, the same content", () => {
    const [one, other] = [new Bench(), new Bench()];
    one.fill(2, 3, 7);
    other.fill(0, 16, 1);
    other.fill(2, 3, 7);
    const pages = (bench: Bench) => bench.card.memory.bytes.subarray(2 * 4096, 5 * 4096);
    expect(pages(one)).toEqual(pages(other));
    expect(one.card.memory.bytes.subarray(0, 8192).every((byte) => byte === 0)).toBe(true);
    expect(one.read(reg.SUM)).not.toBe(other.read(reg.SUM));
  });

  it.each<[string, (bench: Bench) => void]>([
    ["fill beyond the end", (bench) => bench.fill(15, 2, 1)],
    ["fill far beyond the end", (bench) => bench.fill(0xffffffff, 0xffffffff, 1)],
    ["do what it does not know", (bench) => bench.write(reg.COMMAND, 3)],
  ])("does not %s", (_, perform) => {
    const bench = new Bench();
    perform(bench);
    expect(bench.read(reg.STATUS)).toBe(reg.STATUS_INVALID);
    expect(bench.read(reg.SUM)).toBe(0);
  });

  it("knows whether its memory holds what was written to it", () => {
    const bench = new Bench();
    bench.fill(0, 16, 1);
    bench.write(reg.ADDRESS, 0x2000);
    bench.write(reg.DATA, 42);
    expect(bench.verify()).toBe(0);

    const { bytes } = bench.card.memory;
    bytes[5000]! ^= 1;
    expect(bench.verify()).toBe(reg.STATUS_MISMATCH);
    bytes[5000]! ^= 1;

    const page = bytes.slice(0, 4096); // two pages change places
    bytes.copyWithin(0, 4096, 8192);
    bytes.set(page, 4096);
    expect(bench.verify()).toBe(reg.STATUS_MISMATCH);
  });

  describe("a command that takes long", () => {
    const big = () => new Bench({ size: 2000 * 4096 });

    it("goes on in slices, between which registers can be accessed", () => {
      const bench = big();
      bench.fill(0, 2000, 7);
      expect(bench.read(reg.STATUS)).toBe(reg.STATUS_BUSY);
      bench.write(reg.COMMAND, reg.COMMAND_VERIFY); // not now
      expect(bench.read(reg.STATUS)).toBe(reg.STATUS_BUSY | reg.STATUS_INVALID);
      bench.write(reg.SEED, 8); // is of the next one
      bench.clock.advance(1);
      expect(bench.read(reg.STATUS)).toBe(0);
      const small = new Bench({ size: 2000 * 4096 });
      for (let page = 0; page < 2000; page += 200) small.fill(page, 200, 7);
      expect(bench.read(reg.SUM)).toBe(small.read(reg.SUM));
    });

    it("VERIFY counts what is written meanwhile, before and behind it", () => {
      const bench = big();
      bench.write(reg.COMMAND, reg.COMMAND_VERIFY);
      for (const address of [0, 1999 * 4096]) {
        bench.write(reg.ADDRESS, address);
        bench.write(reg.DATA, 42);
      }
      expect(bench.read(reg.STATUS)).toBe(reg.STATUS_BUSY);
      bench.clock.advance(1);
      expect(bench.read(reg.STATUS)).toBe(0);
    });

    it("stands while the card is stopped, and goes on", () => {
      const bench = big();
      bench.fill(0, 2000, 7);
      bench.device.pause();
      bench.clock.advance(10);
      expect(bench.read(reg.STATUS)).toBe(reg.STATUS_BUSY);
      bench.device.resume();
      bench.clock.advance(1);
      expect(bench.read(reg.STATUS)).toBe(0);
    });

    it("is over with a reset", async () => {
      const bench = big();
      bench.fill(0, 2000, 7);
      await bench.device.reset(bench.task);
      bench.enableMemory();
      bench.clock.advance(1);
      expect([bench.read(reg.STATUS), bench.read(reg.SUM)]).toEqual([0, 0]);
    });
  });

  it("at a rate that it cannot keep up with, it lets others in between every few pages", () => {
    const bench = new Bench({ dirtyRate: 2 ** 30 });
    bench.clock.skip(100);
    let slices = 0;
    let most = 0;
    for (let before = 0; bench.clock.armed && slices < 50; slices++) {
      if (!bench.clock.step()) break;
      const written = bench.read(reg.WRITTEN);
      most = Math.max(most, written - before);
      before = written;
    }
    expect(slices).toBeGreaterThan(10);
    expect(most).toBeLessThanOrEqual(256);
  });

  it("writes by itself at the rate that is set, round and round", () => {
    const bench = new Bench();
    bench.write(reg.RATE, 4096 * 100); // a page every 10 ms
    bench.clock.advance(1000);
    expect(bench.read(reg.WRITTEN)).toBe(100);
    expect(bench.verify()).toBe(0);
    bench.write(reg.RATE, 0);
    bench.clock.advance(1000);
    expect(bench.read(reg.WRITTEN)).toBe(100);
    expect(bench.clock.armed).toBe(false);
  });

  it("makes up for a short delay, and not for a long one", () => {
    const bench = new Bench({ dirtyRate: 4096 * 100 });
    bench.clock.skip(100);
    bench.clock.advance(5);
    expect(bench.read(reg.WRITTEN)).toBe(10);
    bench.clock.skip(1_000_000);
    bench.clock.advance(5);
    expect(bench.read(reg.WRITTEN)).toBeLessThan(70);
  });

  it("writes nothing while it is stopped", () => {
    const bench = new Bench({ dirtyRate: 4096 * 100 });
    bench.device.pause();
    bench.clock.advance(1000);
    expect(bench.read(reg.WRITTEN)).toBe(0);
    bench.device.resume();
    bench.clock.advance(1000);
    expect(bench.read(reg.WRITTEN)).toBe(100);
  });

  it("forgets everything in a reset, and writes at its power-on rate again", async () => {
    const bench = new Bench({ dirtyRate: 4096 });
    bench.write(reg.RATE, 0);
    bench.fill(0, 16, 9);
    await bench.device.reset(bench.task);
    bench.enableMemory();
    expect(bench.card.memory.bytes.every((byte) => byte === 0)).toBe(true);
    expect([reg.SUM, reg.SEED, reg.COUNT, reg.RATE].map((r) => bench.read(r))).toEqual([0, 0, 0, 4096]);
    expect(bench.verify()).toBe(0);
  });

  it.each([
    [{ size: 0 }, "size 0: a multiple of 4096 bytes"],
    [{ size: 5000 }, "size 5000: a multiple of 4096 bytes"],
    [{ size: 2 ** 33 }, "size 8589934592: a multiple of 4096 bytes, up to 4294967296"],
    [{ dirtyRate: -1 }, "dirtyRate -1: whole bytes a second"],
  ])("cannot be made with %o", (options, message) => {
    expect(() => memoryCard(options)).toThrow(`EINVAL: ${message}`);
  });
});
