import { describe, expect, it } from "vitest";
import { Bandwidth } from "../../src/migrate/bandwidth.js";
import { pump, type PumpSteps } from "../../src/migrate/pump.js";
import { FakeClock } from "./support.js";

const noSteps: PumpSteps = { beforeWrite: () => undefined, written: () => undefined };
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** So many chunks, each of one byte: its number. */
function chunks(count: number) {
  let next = 0;
  return () => Promise.resolve(next < count ? Uint8Array.of(next++) : new Uint8Array());
}

describe("the pump", () => {
  it("keeps the order", async () => {
    const written: number[] = [];
    const write = (bytes: Uint8Array) => Promise.resolve(void written.push(bytes[0]!));
    expect(await pump({ read: chunks(9) }, { write }, Infinity, noSteps)).toBe(9);
    expect(written).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("reads on while it writes, and never has more than two of each under way", async () => {
    const under = { reads: 0, writes: 0 };
    const most = { reads: 0, writes: 0, both: 0 };
    const take = async <T>(kind: "reads" | "writes", result: () => Promise<T>): Promise<T> => {
      most[kind] = Math.max(most[kind], ++under[kind]);
      if (under.reads > 0) most.both = Math.max(most.both, under.writes);
      await turn();
      under[kind]--;
      return result();
    };
    const read = chunks(20);
    await pump(
      { read: () => take("reads", read) },
      { write: () => take("writes", () => turn().then(() => undefined)) },
      Infinity,
      noSteps,
    );
    expect(most).toEqual({ reads: 2, writes: 2, both: 2 });
  });

  it("a target that takes one write at a time gets the next when the last has ended, while it reads on", async () => {
    let writes = 0;
    let reads = 0;
    let readsAtOnce = 0;
    const written: number[] = [];
    const source = chunks(9);
    const read = async () => {
      readsAtOnce = Math.max(readsAtOnce, ++reads);
      await turn();
      reads--;
      return source();
    };
    const write = async (bytes: Uint8Array) => {
      expect(++writes).toBe(1);
      await turn();
      written.push(bytes[0]!);
      writes--;
    };
    await pump({ read }, { write, oneAtATime: true }, Infinity, noSteps);
    expect(written).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(readsAtOnce).toBe(2);
  });

  it("stops asking once the limit is on its way", async () => {
    let asked = 0;
    const read = chunks(100);
    const source = { read: () => (asked++, read()) };
    expect(await pump(source, { write: () => Promise.resolve() }, 10, noSteps)).toBe(11);
    expect(asked).toBe(11);
  });

  it("what comes behind an empty chunk is not lost: the device has changed again meanwhile", async () => {
    const answers = [Uint8Array.of(1), new Uint8Array(), Uint8Array.of(2)];
    const written: number[] = [];
    const read = () => Promise.resolve(answers.shift() ?? new Uint8Array());
    const write = (bytes: Uint8Array) => Promise.resolve(void written.push(bytes[0]!));
    await pump({ read }, { write }, Infinity, noSteps);
    expect([...written, ...answers.map((rest) => rest[0])]).toEqual([1, 2]);
  });

  it("a write that fails, the last one too, makes it fail, when nothing is under way any more", async () => {
    for (const failing of [0, 3, 8]) {
      let under = 0;
      const write = async (bytes: Uint8Array) => {
        under++;
        await turn();
        under--;
        if (bytes[0] === failing) throw new Error("full");
      };
      await expect(pump({ read: chunks(9) }, { write }, Infinity, noSteps)).rejects.toThrow("full");
      expect(under).toBe(0);
    }
  });

  it("so does a read, and a step", async () => {
    const write = () => Promise.resolve();
    const read = () => Promise.reject(new Error("reset"));
    await expect(pump({ read }, { write }, Infinity, noSteps)).rejects.toThrow("reset");
    const beforeWrite = () => Promise.reject(new Error("cancelled"));
    const steps = { ...noSteps, beforeWrite };
    await expect(pump({ read: chunks(3) }, { write }, Infinity, steps)).rejects.toThrow("cancelled");
  });
});

describe("the bandwidth limit", () => {
  /** What it makes a sender of so many KiB wait that needs `work` milliseconds for each. */
  async function waits(count: number, work: number): Promise<{ sleeps: number[]; total: number }> {
    const clock = new FakeClock();
    const bandwidth = new Bandwidth(10 * 1024, clock);
    for (let i = 0; i < count; i++) {
      clock.pass(work);
      await bandwidth.take(1024, undefined);
    }
    return { sleeps: clock.sleeps, total: clock.now() };
  }

  it("the first chunk is free, then each has its time", async () => {
    expect(await waits(4, 0)).toEqual({ sleeps: [100, 100, 100], total: 300 });
  });

  it("so are several small ones, for a short burst", async () => {
    const clock = new FakeClock();
    const bandwidth = new Bandwidth(10 * 1024, clock);
    for (let i = 0; i < 7; i++) await bandwidth.take(102.4, undefined);
    expect(clock.sleeps).toEqual([10, 10]);
  });

  it("the time that the work takes counts", async () => {
    expect(await waits(4, 60)).toEqual({ sleeps: [40, 40, 40], total: 360 });
  });

  it("whoever is slower by himself does not wait, and saves up no more than a burst", async () => {
    expect(await waits(4, 150)).toEqual({ sleeps: [], total: 600 });
    const clock = new FakeClock();
    const bandwidth = new Bandwidth(10 * 1024, clock);
    clock.pass(10_000);
    for (let i = 0; i < 3; i++) await bandwidth.take(1024, undefined);
    expect(clock.sleeps).toEqual([100, 100]);
  });
});
