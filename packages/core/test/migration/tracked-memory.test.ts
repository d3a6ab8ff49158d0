import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TrackedMemory } from "@vfiokit/core";
import { PageSet } from "../../src/migration/page-set.js";

const PAGE = 4096;

/** Everything that there is to send now: [first page, number of pages] a run. */
function takeAll(memory: TrackedMemory, most = 16): [number, number][] {
  const runs: [number, number][] = [];
  for (let run = memory.take(most); run; run = memory.take(most)) {
    runs.push([run.offset / PAGE, Math.ceil(run.length / PAGE)]);
  }
  return runs;
}

describe("tracked memory", () => {
  it("is sent once from the front, in runs", () => {
    const memory = new TrackedMemory(40 * PAGE);
    expect([memory.initialBytes, memory.dirtyBytes]).toEqual([40 * PAGE, 0]);
    memory.take(16);
    expect([memory.initialBytes, memory.dirtyBytes]).toEqual([24 * PAGE, 0]);
    expect(takeAll(memory)).toEqual([
      [16, 16],
      [32, 8],
    ]);
    expect([memory.initialBytes, memory.dirtyBytes]).toEqual([0, 0]);
  });

  it("is sent again where it was written since", () => {
    const memory = new TrackedMemory(40 * PAGE);
    takeAll(memory);
    memory.write(5 * PAGE - 1, Uint8Array.of(1, 2)); // on both sides of a border
    memory.fill(7, 31 * PAGE, 34 * PAGE);
    memory.markDirty(39 * PAGE + 4095, 1);
    memory.markDirty(31 * PAGE, 1); // again
    expect(memory.dirtyBytes).toBe(6 * PAGE);
    expect(takeAll(memory)).toEqual([
      [4, 2],
      [31, 3],
      [39, 1],
    ]);
    expect(memory.dirtyBytes).toBe(0);
    expect(memory.bytes[5 * PAGE]).toBe(2);
  });

  it("is not sent again for what was written before it was sent", () => {
    const memory = new TrackedMemory(40 * PAGE);
    memory.take(16);
    memory.fill(1, 10 * PAGE, 20 * PAGE);
    expect(memory.dirtyBytes).toBe(6 * PAGE);
    expect(takeAll(memory)).toEqual([
      [16, 16],
      [32, 8],
      [10, 6],
    ]);
  });

  it("may end in the middle of a page", () => {
    const memory = new TrackedMemory(2 * PAGE + 100);
    memory.take(2);
    expect(memory.initialBytes).toBe(100);
    expect(memory.take(16)).toEqual({ offset: 2 * PAGE, length: 100 });
    memory.markDirty(2 * PAGE, 100);
    expect(memory.take(16)).toEqual({ offset: 2 * PAGE, length: 100 });
  });

  it("that was replaced is new once more, and says so once", () => {
    const memory = new TrackedMemory(4 * PAGE);
    memory.replaced(); // nobody is sending: nobody has to know
    expect(memory.takeReplaced()).toBe(false);
    memory.take(3);
    memory.fill(1);
    memory.replaced();
    expect([memory.initialBytes, memory.dirtyBytes]).toEqual([4 * PAGE, 0]);
    expect([memory.takeReplaced(), memory.takeReplaced()]).toEqual([true, false]);
  });

  it("is cleared, and is zeros then wherever it was written", () => {
    const memory = new TrackedMemory(4 * PAGE);
    takeAll(memory);
    memory.clear(); // it is zeros
    expect(memory.dirtyBytes).toBe(0);
    memory.bytes[5] = 1;
    memory.markDirty(5, 1);
    memory.clear();
    expect(memory.bytes.every((byte) => byte === 0)).toBe(true);
    expect(memory.dirtyBytes).toBe(4 * PAGE);

    const given = new TrackedMemory(new Uint8Array(100).fill(1));
    given.clear();
    expect(given.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it.each([0, -1, 1.5, NaN])("of %d bytes cannot be made", (size) => {
    expect(() => new TrackedMemory(size)).toThrow(`EINVAL: memory of ${size} bytes`);
  });

  it("loses no write, whenever its pages are taken", () => {
    const pages = 70;
    const action = fc.oneof(
      fc.record({ take: fc.integer({ min: 1, max: 20 }) }),
      fc.record({ at: fc.nat(pages * PAGE - 1), length: fc.integer({ min: 0, max: 3 * PAGE }) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const memory = new TrackedMemory(pages * PAGE);
        const copy = new Uint8Array(memory.size).fill(0xff);
        const take = (most: number) => {
          const run = memory.take(most);
          if (run) copy.set(memory.bytes.subarray(run.offset, run.offset + run.length), run.offset);
          return run !== undefined;
        };
        let stamp = 0;
        for (const step of actions) {
          if ("take" in step) take(step.take);
          else memory.fill(++stamp & 0xff, step.at, Math.min(step.at + step.length, memory.size));
        }
        while (take(16));
        expect(copy.every((byte, i) => byte === memory.bytes[i])).toBe(true);
        expect([memory.initialBytes, memory.dirtyBytes]).toEqual([0, 0]);
      }),
      { numRuns: 50 },
    );
  });
});

describe("a set of pages", () => {
  it("counts pages once, and knows the first that is missing", () => {
    const pages = fc.integer({ min: 1, max: 300 });
    fc.assert(
      fc.property(pages, fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 40 }))), (size, runs) => {
        const set = new PageSet(size);
        const model = new Set<number>();
        for (const [first, length] of runs) {
          const end = Math.min(first + length, size);
          set.add(first, end);
          for (let page = first; page < end; page++) model.add(page);
        }
        expect(set.count).toBe(model.size);
        let missing = 0;
        while (model.has(missing)) missing++;
        expect(set.firstMissing()).toBe(missing);
      }),
    );
  });

  it("of an enormous memory costs what is in it", () => {
    const set = new PageSet(2 ** 40);
    expect(set.held).toBe(0);
    set.add(2 ** 39, 2 ** 39 + 1);
    expect(set.held).toBe(4096);
    expect(set.firstMissing()).toBe(0);
    const small = new PageSet(3);
    small.add(0, 3);
    expect([small.held, small.count, small.firstMissing()]).toEqual([4, 3, 3]);
  });
});
