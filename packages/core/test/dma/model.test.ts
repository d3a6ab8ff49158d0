import { DmaAddressSpace, VfioError } from "@vfiokit/core";
import { DirtyLog } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FileBacking, MappedBacking, request } from "./memory.js";

const PAGE = 4096n;
const task = new Task("client");

/** A space of 64 pages somewhere, so that operations meet each other; anywhere, so that arithmetic is tested. */
const base = fc.constantFrom(0n, 0xffff_f000n, (1n << 53n) - 32n * PAGE, 1n << 63n, (1n << 64n) - 64n * PAGE);

describe("a DMA address space against a naive one", () => {
  interface Model {
    maps: { address: bigint; size: bigint; readable: boolean; writable: boolean; release: () => number }[];
    /** Every byte written, by address; maps are zero when they are made. */
    bytes: Map<bigint, number>;
  }
  const range = { page: fc.bigInt(0n, 63n), pages: fc.bigInt(1n, 8n) };
  const operation = fc.oneof(
    fc.record({
      kind: fc.constant("map" as const),
      ...range,
      readable: fc.boolean(),
      writable: fc.boolean(),
      file: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("unmap" as const), ...range }),
    fc.record({ kind: fc.constant("unmapAll" as const) }),
    fc.record({
      kind: fc.constantFrom("read" as const, "write" as const),
      offset: fc.bigInt(0n, 64n * PAGE),
      size: fc.integer({ min: 1, max: 3 * 4096 }),
      fill: fc.integer({ min: 1, max: 255 }),
    }),
  );

  function outcome(run: () => unknown): string {
    try {
      expect(run()).toBeUndefined();
      return "ok";
    } catch (error) {
      if (error instanceof VfioError) return error.code;
      throw error;
    }
  }

  function mapAt(model: Model, address: bigint): Model["maps"][number] | undefined {
    return model.maps.find((m) => m.address <= address && address < m.address + m.size);
  }

  function access(model: Model, address: bigint, size: number, kind: "read" | "write"): string {
    for (let i = 0n; i < size; i += 1n) {
      const map = mapAt(model, address + i);
      if (!map) return "EFAULT";
      if (!(kind === "read" ? map.readable : map.writable)) return "EACCES";
      if (i + 1n < size) i += min(map.address + map.size - (address + i), BigInt(size) - i) - 1n;
    }
    return "ok";
  }
  const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);

  function forget(model: Model, map: Model["maps"][number]): void {
    expect(map.release()).toBe(1);
    model.maps.splice(model.maps.indexOf(map), 1);
    for (const address of [...model.bytes.keys()])
      if (map.address <= address && address < map.address + map.size) model.bytes.delete(address);
  }

  it("answers and bytes are the same after any operations", () => {
    fc.assert(
      fc.property(base, fc.array(operation, { minLength: 5, maxLength: 40 }), (start, operations) => {
        const dma = new DmaAddressSpace();
        const model: Model = { maps: [], bytes: new Map() };
        for (const op of operations) {
          if (op.kind === "unmapAll") {
            void dma.unmapAll(task);
            for (const map of [...model.maps]) forget(model, map);
          } else if (op.kind === "map") {
            const [address, size] = [start + op.page * PAGE, op.pages * PAGE];
            const backing = op.file ? new FileBacking(Number(size)) : new MappedBacking(Number(size));
            const expected =
              address + size > 1n << 64n || (!op.readable && !op.writable)
                ? "EINVAL"
                : model.maps.some((m) => m.address < address + size && address < m.address + m.size)
                  ? "EEXIST"
                  : "ok";
            expect(outcome(() => dma.map(task, request(address, size, backing, op)))).toBe(expected);
            expect(backing.released).toBe(expected === "ok" ? 0 : 1);
            if (expected === "ok") model.maps.push({ address, size, ...op, release: () => backing.released });
          } else if (op.kind === "unmap") {
            const [address, size] = [start + op.page * PAGE, op.pages * PAGE];
            const end = address + size;
            const touched = model.maps.filter((m) => m.address < end && address < m.address + m.size);
            const whole = touched.every((m) => address <= m.address && m.address + m.size <= end);
            const expected = end > 1n << 64n || !whole ? "EINVAL" : touched.length > 0 ? "ok" : "ENOENT";
            expect(outcome(() => dma.unmap(task, address, size))).toBe(expected);
            if (expected === "ok") for (const map of touched) forget(model, map);
          } else {
            const address = start + op.offset;
            const expected = access(model, address, op.size, op.kind);
            const buffer = new Uint8Array(op.size).fill(op.fill);
            expect(outcome(() => dma[op.kind](address, buffer))).toBe(expected);
            if (expected !== "ok") continue;
            for (let i = 0; i < op.size; i++) {
              if (op.kind === "write") model.bytes.set(address + BigInt(i), op.fill);
              else if (buffer[i] !== (model.bytes.get(address + BigInt(i)) ?? 0)) expect.fail(`byte ${i}`);
            }
          }
          expect(dma.mapCount).toBe(model.maps.length);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("a dirty log against a set of pages", () => {
  // Around a boundary of the storage's chunks (2^18 pages), at a few places of the address space.
  const firstFrame = fc.constantFrom(2 ** 18 - 100, 2 ** 18 - 128, 2 ** 32 - 128, 2 ** 51 - 100);
  const SPAN = 416;
  const wholeWords = (words: number): number => words * 32;
  const operation = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("mark" as const),
        at: fc.nat(SPAN - 1),
        pages: fc.integer({ min: 1, max: 90 }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("report" as const),
        // Whole words of the storage are copied.
        at: fc.oneof(fc.nat(SPAN - 1), fc.nat(SPAN / 32 - 1).map(wholeWords)),
        pages: fc.oneof(fc.integer({ min: 1, max: SPAN }), fc.integer({ min: 1, max: 5 }).map(wholeWords)),
        shift: fc.oneof(fc.integer({ min: 10, max: 21 }), fc.constant(12)),
      }),
    },
  );

  it("reports are the same after any operations", () => {
    fc.assert(
      fc.property(firstFrame, fc.array(operation, { maxLength: 30 }), (first, operations) => {
        const log = new DirtyLog();
        // Two ranges with a hole of 20 pages in the middle that is not logged.
        const logged = [
          [first, first + 190],
          [first + 210, first + SPAN],
        ] as const;
        log.start(
          PAGE,
          logged.map(([from, to]) => ({ address: BigInt(from) * PAGE, size: BigInt(to - from) * PAGE })),
        );
        const dirty = new Set<number>();
        for (const op of operations) {
          const from = first + op.at;
          const to = Math.min(from + op.pages, first + SPAN);
          if (op.kind === "mark") {
            log.mark(from, to);
            for (let frame = from; frame < to; frame++)
              if (logged.some((range) => range[0] <= frame && frame < range[1])) dirty.add(frame);
            continue;
          }
          const report = (): Uint8Array =>
            log.report(BigInt(from) * PAGE, BigInt(to - from) * PAGE, 1n << BigInt(op.shift));
          if (!logged.some((range) => range[0] <= from && to <= range[1])) {
            expect(report).toThrow("EINVAL");
            continue;
          }
          const pageSize = 2 ** op.shift;
          const expected = new Uint8Array(Math.ceil(((to - from) * 4096) / pageSize / 64) * 8);
          for (let frame = from; frame < to; frame++) {
            if (!dirty.delete(frame)) continue;
            for (
              let at = (frame - from) * 4096;
              at < (frame - from + 1) * 4096;
              at += Math.min(pageSize, 4096)
            ) {
              const bit = Math.floor(at / pageSize);
              expected[bit >> 3]! |= 1 << (bit & 7);
            }
          }
          expect(report()).toEqual(expected);
        }
      }),
      { numRuns: 300 },
    );
  });
});
