import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeTarget, ID, pattern, Receiving, Wire } from "./support.js";

/** Bytes of HELLO and of WELCOME: what breaks before they have arrived cannot be continued. */
const HELLO = 72 + "card".length;
const WELCOME = 68;

interface Cuts {
  readonly up: readonly number[];
  readonly down: readonly number[];
}

/** A whole migration over a connection that is cut wherever `cuts` say; what the device saw of it. */
async function migrateWith(
  cuts: Cuts,
  image: Uint8Array,
  step: number,
): Promise<FakeTarget & { wire: Wire }> {
  const device = new FakeTarget();
  await using receiving = await Receiving.start({ card: device });
  await using wire = await Wire.to(receiving.port);
  wire.cutsUp.push(...cuts.up);
  wire.cutsDown.push(...cuts.down);
  const target = await receiving.connect({}, receiving.url("card", wire.port));
  expect(await target.describe()).toMatchObject({ generation: 7 });
  await target.begin();
  for (let at = 0; at < image.length; at += step) await target.write(image.subarray(at, at + step));
  await target.prepare(ID);
  await target.activate(ID);
  target.close();
  await receiving.close();
  return Object.assign(device, { wire });
}

/** Everything once and in order, whatever was lost on the way. */
function expectWhole(device: FakeTarget, image: Uint8Array): void {
  expect(device.has(image)).toBe(true);
  expect(device.calls.filter((call) => call !== "write")).toEqual([
    "describe",
    "begin",
    `prepare ${ID}`,
    `activate ${ID}`,
    "close",
  ]);
}

describe("a connection that breaks", () => {
  const image = pattern(60);

  it("at any byte on the way to the receiver: the target gets everything once, in order", async () => {
    const { wire } = await migrateWith({ up: [], down: [] }, image, 20);
    for (let cut = HELLO + 1; cut <= wire.up; cut++)
      expectWhole(await migrateWith({ up: [cut], down: [] }, image, 20), image);
  });

  it("at any byte on the way to the migrationClient: the target gets everything once, in order", async () => {
    const { wire } = await migrateWith({ up: [], down: [] }, image, 20);
    for (let cut = WELCOME + 1; cut <= wire.down; cut++)
      expectWhole(await migrateWith({ up: [], down: [cut] }, image, 20), image);
  });

  it("while the device takes bytes: they are not sent again when it has taken them", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    await using wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("card", wire.port));
    await target.begin();
    let release: () => void = () => undefined;
    const entered = new Promise<void>((enter) => {
      device.onWrite = () => new Promise<void>((resolve) => (enter(), (release = resolve)));
    });
    await target.write(image);
    await entered;
    wire.cut();
    while (wire.connections < 2) await new Promise((resolve) => setImmediate(resolve));
    // Time for a receiver that answers too early.
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    device.onWrite = () => Promise.resolve();
    release();
    await target.prepare(ID);
    expect(device.has(image)).toBe(true);
    target.close();
  });

  it("anywhere, in both directions, again and again: the same", async () => {
    const bytes = pattern(900_000);
    const where = (from: number, to: number) =>
      fc.array(fc.integer({ min: from, max: to }), { maxLength: 8 });
    const sorted = (cuts: readonly number[]) => [...cuts].sort((a, b) => a - b);
    await fc.assert(
      fc.asyncProperty(
        where(HELLO + 1, 1_200_000),
        where(WELCOME + 1, 1000),
        fc.integer({ min: 1000, max: 400_000 }),
        async (up, down, step) =>
          expectWhole(await migrateWith({ up: sorted(up), down: sorted(down) }, bytes, step), bytes),
      ),
      { numRuns: 15 },
    );
  }, 60_000);
});
