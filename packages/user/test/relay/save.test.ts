/** The device is saved behind its client's back. */

import { Readable } from "node:stream";
import { MigrationState } from "@vfiokit/core/migration";
import { expect, it, onTestFinished } from "vitest";
import { restoreImage } from "../../src/migrate/index.js";
import { RelayClient, RelayControl, type Relay } from "../../src/relay/index.js";
import { BAR_REGISTERS, VALUE } from "../server/support.js";
import { Place, type TestServer } from "./support.js";

async function setup(): Promise<{
  place: Place;
  a: TestServer;
  b: TestServer;
  relay: Relay;
  admin: RelayClient;
}> {
  const place = new Place();
  const [a, b] = [await place.server(), await place.server()];
  const relay = place.relay(a.path);
  const control = new RelayControl(relay, `${place.relayPath}.ctl`);
  control.listen();
  onTestFinished(() => control.close());
  const admin = (await RelayClient.open(place.relayPath))!;
  onTestFinished(() => admin.close());
  return { place, a, b, relay, admin };
}

it("requests that come while it is saved are carried out afterwards, and are not in the image", async () => {
  const { place, a, b, admin } = await setup();
  const client = await place.client();
  await client.regionWrite(BAR_REGISTERS, VALUE, Uint8Array.of(42, 0, 0, 0));
  const pieces: Uint8Array[] = [];
  const saved = admin.save((piece) => {
    pieces.push(piece);
    return Promise.resolve();
  });
  expect(await saved).toMatchObject({
    identity: { vendor: 0x1b36, device: 0x0101 },
    bytes: pieces.reduce((sum, { length }) => sum + length, 0),
  });
  await client.regionWrite(BAR_REGISTERS, VALUE, Uint8Array.of(43, 0, 0, 0));
  expect([a.fn.value, a.device.migration!.state]).toEqual([43, MigrationState.RUNNING]);
  await restoreImage(b.path, Readable.from(pieces) as AsyncIterable<Uint8Array>);
  expect(b.fn.value).toBe(42);
});

it("a client that logs dirty pages goes on with it", async () => {
  const { place, a, admin } = await setup();
  const client = await place.client();
  await client.migration.startLogging(4096n);
  a.device.dma.dirtyLog.mark(16, 17);
  await admin.save(() => Promise.resolve());
  const bitmap = await client.migration.dirtyPages({ iova: 0n, length: 64n * 4096n }, 4096n);
  expect(bitmap[2]).toBe(1);
});

it("without a client it is the connection's, and says so; what the writer throws is the error", async () => {
  const { place, admin } = await setup();
  await expect(admin.save(() => Promise.resolve())).rejects.toMatchObject({ code: "ENOTCONN" });
  await place.client();
  await expect(admin.save(() => Promise.reject(new Error("the disk is full")))).rejects.toThrow(
    "the disk is full",
  );
});

it("a device that cannot be migrated is not saved, and its client goes on", async () => {
  const { place, a, admin } = await setup();
  const client = await place.client();
  await client.migration.setState("STOP");
  await expect(admin.save(() => Promise.resolve())).rejects.toMatchObject({ code: "EBUSY" });
  await client.migration.setState("RUNNING");
  await client.regionWrite(BAR_REGISTERS, VALUE, Uint8Array.of(1, 0, 0, 0));
  expect(a.fn.value).toBe(1);
});
