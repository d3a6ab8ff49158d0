/** A client that logs dirty pages, while its relay moves the device from one server to another. */

import { describe, expect, it } from "vitest";
import type { PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import type { VfioUserClient } from "../../src/client/index.js";
import type { MoveOptions, Relay } from "../../src/relay/index.js";
import { Place, type TestServer } from "./support.js";

const OPTIONS: MoveOptions = { maxDowntime_ms: 100, maxRounds: 5 };
const PAGE = 4096n;
/** Two maps of 16 pages. */
const LOW = { iova: 0x10000n, length: 16n * PAGE };
const HIGH = { iova: 0x10_0000_0000n, length: 16n * PAGE };

interface Setup {
  readonly place: Place;
  readonly a: TestServer;
  readonly b: TestServer;
  readonly relay: Relay;
  readonly client: VfioUserClient;
}

async function setup(): Promise<Setup> {
  const place = new Place();
  const [a, b] = [await place.server(), await place.server()];
  const relay = place.relay(a.path);
  const client = await place.client();
  for (const { iova, length } of [LOW, HIGH])
    await client.dmaMap({ address: iova, memory: client.shareMemory(Number(length)) });
  return { place, a, b, relay, client };
}

/** The device writes a byte into a page of a map. */
async function write(device: PciDevice, { iova }: { readonly iova: bigint }, page: number): Promise<void> {
  await device.dma.write(iova + BigInt(page) * PAGE, Uint8Array.of(1), new Task("device"));
}

/** Numbers of the pages that are dirty. */
async function report(
  client: VfioUserClient,
  range: { readonly iova: bigint; readonly length: bigint },
  pageSize = PAGE,
): Promise<number[]> {
  const bitmap = await client.migration.dirtyPages(range, pageSize);
  return Array.from(bitmap, (byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (1 << bit)).map((bit) => at * 8 + bit),
  ).flat();
}

describe("a client that logs dirty pages, when its device moves", () => {
  it("loses no page: those of before the move, of the copy, and of the new server are in its next report", async () => {
    const { a, b, relay, client } = await setup();
    await client.migration.startLogging(PAGE);
    await write(a.device, LOW, 1);
    expect(await report(client, LOW)).toEqual([1]);
    await write(a.device, LOW, 2);
    await write(a.device, HIGH, 15);
    await relay.migrate(b.path, {
      ...OPTIONS,
      async fault(point) {
        if (point.startsWith("precopy:target-ready")) await write(a.device, LOW, 3);
      },
    });
    await write(b.device, LOW, 5);
    expect(await report(client, LOW)).toEqual([2, 3, 5]);
    expect(await report(client, HIGH)).toEqual([15]);
    expect(await report(client, LOW)).toEqual([]);
  });

  it("loses none in three moves without a report either", async () => {
    const { a, b, relay, client } = await setup();
    await client.migration.startLogging(PAGE);
    await write(a.device, LOW, 0);
    await relay.migrate(b.path, OPTIONS);
    await write(b.device, LOW, 1);
    await relay.migrate(a.path, OPTIONS);
    await write(a.device, LOW, 2);
    await relay.migrate(b.path, OPTIONS);
    expect(await report(client, LOW)).toEqual([0, 1, 2]);
  });

  it("has the same ranges and page size at the new server", async () => {
    const { a, b, relay, client } = await setup();
    const half = { iova: LOW.iova, length: LOW.length / 2n };
    await client.migration.startLogging(2n * PAGE, [half]);
    await write(a.device, LOW, 5);
    await write(a.device, LOW, 9);
    await relay.migrate(b.path, OPTIONS);
    // Asked for the same again, a server goes on; for anything else it does not.
    expect(await client.migration.startLogging(2n * PAGE, [half])).toBe(2n * PAGE);
    await expect(client.migration.startLogging(PAGE, [half])).rejects.toMatchObject({ code: "EINVAL" });
    await write(b.device, LOW, 1);
    await write(b.device, LOW, 12);
    expect(await report(client, half, 2n * PAGE)).toEqual([0, 2]);
    await expect(report(client, LOW, 2n * PAGE)).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("hears of pages in memory that it has unmapped before it asks, as QEMU does", async () => {
    const { a, b, relay, client } = await setup();
    await client.migration.startLogging(PAGE);
    await write(a.device, HIGH, 4);
    await client.dmaUnmap(HIGH.iova, HIGH.length);
    await relay.migrate(b.path, OPTIONS);
    expect(await report(client, HIGH)).toEqual([4]);
  });

  it("hears of them when the move has failed after the old server was asked", async () => {
    const { a, b, relay, client } = await setup();
    await client.migration.startLogging(PAGE);
    await write(a.device, LOW, 7);
    const fault: MoveOptions["fault"] = (point) => {
      if (point.startsWith("prepare:prepared")) throw new Error("broken");
    };
    await expect(relay.migrate(b.path, { ...OPTIONS, fault })).rejects.toThrow("broken");
    await write(a.device, LOW, 8);
    expect(await report(client, LOW)).toEqual([7, 8]);
  });

  it("hears nothing of before once it has stopped and started anew", async () => {
    const { a, b, relay, client } = await setup();
    await client.migration.startLogging(PAGE);
    await write(a.device, LOW, 7);
    await relay.migrate(b.path, OPTIONS);
    await client.migration.stopLogging();
    expect(b.device.dma.dirtyLog.active).toBe(false);
    await client.migration.startLogging(PAGE);
    expect(await report(client, LOW)).toEqual([]);
  });

  it("and starts it during the copy, has it at the new server", async () => {
    const { b, relay, client } = await setup();
    await relay.migrate(b.path, {
      ...OPTIONS,
      async fault(point) {
        if (point.startsWith("precopy:target-ready")) await client.migration.startLogging(PAGE);
      },
    });
    await write(b.device, LOW, 3);
    expect(await report(client, LOW)).toEqual([3]);
  });

  it("and has unmapped a thousand ranges without asking about them, is told that it cannot be moved", async () => {
    const { a, b, relay, client } = await setup();
    await client.migration.startLogging(PAGE);
    const memory = client.shareMemory(Number(PAGE));
    for (let i = 0; i <= 1024; i++) {
      await client.dmaMap({ address: 0x100_0000n, memory });
      await client.dmaUnmap(0x100_0000n, PAGE);
    }
    await expect(relay.migrate(b.path, OPTIONS)).rejects.toThrow(
      "unmapped more than 1024 ranges without a report",
    );
    await write(a.device, LOW, 1);
    expect(await report(client, LOW)).toEqual([1]);
  });
});
