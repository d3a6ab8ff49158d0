import { expect, it } from "vitest";
import { MigrationState } from "@vfiokit/core/migration";
import { memoryCardRegisters as reg } from "@vfiokit/devices";
import { Bench } from "./bench.js";

const { RUNNING, STOP_COPY, RESUMING, PRE_COPY } = MigrationState;

const go = ({ device, task }: Bench, state: MigrationState) => device.migration!.setState(task, state);

/** Moves what there is of the image, for now or at all. @returns bytes */
async function copy(from: Bench, to: Bench): Promise<number> {
  const buffer = new Uint8Array(50_000);
  let total = 0;
  for (;;) {
    const count = await from.device.migration!.readData(from.task, buffer);
    if (count === 0) return total;
    await to.device.migration!.writeData(to.task, buffer.subarray(0, count));
    total += count;
  }
}

it("the card moves while it writes, and goes on writing where it was", async () => {
  const [from, to] = [new Bench(), new Bench()];
  from.fill(0, 16, 5);
  from.write(reg.RATE, 4096 * 100); // a page every 10 ms
  await go(to, RESUMING);
  await go(from, PRE_COPY);
  const first = await copy(from, to);

  from.clock.advance(30);
  from.write(reg.ADDRESS, 15 * 4096);
  from.write(reg.DATA, 0x12345678);
  const second = await copy(from, to);
  expect(second).toBeGreaterThanOrEqual(4 * 4096);
  expect(second).toBeLessThan(first / 2);

  from.clock.advance(20);
  await go(from, STOP_COPY);
  await copy(from, to);
  from.clock.advance(1000); // it has stopped
  expect(from.read(reg.WRITTEN)).toBe(5);

  await go(to, RUNNING);
  expect(to.verify()).toBe(0);
  expect([reg.SUM, reg.WRITTEN, reg.ADDRESS, reg.SEED].map((register) => to.read(register))).toEqual(
    [reg.SUM, reg.WRITTEN, reg.ADDRESS, reg.SEED].map((register) => from.read(register)),
  );
  to.clock.advance(100);
  expect(to.read(reg.WRITTEN)).toBe(15);
  expect(to.verify()).toBe(0);
});

it("a change that nobody was told of does not come along, and is noticed", async () => {
  const [from, to] = [new Bench(), new Bench()];
  from.fill(0, 16, 5);
  await go(to, RESUMING);
  await go(from, PRE_COPY);
  await copy(from, to);
  from.card.memory.markDirty = () => undefined;
  from.fill(7, 1, 6);
  await go(from, STOP_COPY);
  await copy(from, to);
  await go(to, RUNNING);
  expect([from.verify(), to.verify()]).toEqual([0, reg.STATUS_MISMATCH]);
});

it("filling all of the memory makes it new", async () => {
  const card = new Bench();
  await go(card, PRE_COPY);
  await copyNowhere(card);
  card.fill(3, 4, 1);
  expect(card.device.migration!.precopyInfo().reinitialized).toBe(false);
  card.fill(0, 16, 1);
  expect(card.device.migration!.precopyInfo().reinitialized).toBe(true);
});

async function copyNowhere({ device, task }: Bench): Promise<void> {
  const buffer = new Uint8Array(100_000);
  while ((await device.migration!.readData(task, buffer)) > 0);
}

it("a command that is not done goes on at the destination", async () => {
  const size = 2000 * 4096;
  const [from, to, alone] = [new Bench({ size }), new Bench({ size }), new Bench({ size })];
  for (const bench of [from, alone]) bench.fill(0, 2000, 5);
  from.clock.step();
  await go(to, RESUMING);
  await go(from, STOP_COPY);
  await copy(from, to);
  await go(to, RUNNING);
  expect(to.read(reg.STATUS)).toBe(reg.STATUS_BUSY);
  for (const bench of [to, alone]) bench.clock.advance(1);
  expect(to.read(reg.STATUS)).toBe(0);
  expect(to.read(reg.SUM)).toBe(alone.read(reg.SUM));
  expect(to.verify() & ~reg.STATUS_BUSY).toBe(0);
});
