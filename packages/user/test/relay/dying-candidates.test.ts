/** A server that is to take over may go at any byte that it sends: the client goes on with the one that it has. */

import { connect, createServer, type Server } from "node:net";
import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import { RegionIndex } from "@vfiokit/core";
import { UnixListener, reactor, openFds } from "@vfiokit/user/linux";
import type { VfioUserClient } from "../../src/client/index.js";
import { FakeServer } from "../client/fake-server.js";
import { Place } from "./support.js";

/** Passes on what goes to and fro, and closes both after so many bytes of the server's. */
async function cutting(path: string, server: string, bytes: () => number): Promise<Server> {
  const proxy = createServer((client) => {
    let left = bytes();
    const upstream = connect(server);
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    client.on("data", (data: Buffer) => upstream.write(data));
    upstream.on("data", (data: Buffer) => {
      client.write(data.subarray(0, left));
      left -= data.length;
      if (left <= 0) client.end(end);
    });
    for (const socket of [client, upstream]) socket.on("error", end).on("close", end);
  }).listen(path);
  await once(proxy, "listening");
  onTestFinished(() => {
    proxy.close();
  });
  return proxy;
}

/** A read of the device's vendor id is answered. */
async function expectServed(client: VfioUserClient): Promise<void> {
  const vendor = new Uint8Array(2);
  await client.regionRead(RegionIndex.CONFIG, 0, vendor);
  expect(vendor).toEqual(Uint8Array.of(0x36, 0x1b));
}

/** VERSION and the queries are more than this; all that is asked of a target before it is loaded is found out. */
const AT_LEAST = 1000;

describe("a candidate that closes after any number of bytes", () => {
  it("as the target of a move: the client goes on with its server", async () => {
    const place = new Place();
    const [old, next] = [await place.server(), await place.server()];
    const relay = place.relay(old.path, { replyLimit: 1000 });
    const client = await place.client({ twinSocket: false });
    let bytes = 0;
    await cutting(place.path("proxy"), next.path, () => bytes);
    const fds = openFds();
    for (bytes = 1; ; bytes += bytes < 700 ? 13 : 67) {
      const moving = relay.migrate(place.path("proxy"), { maxDowntime_ms: 300, maxRounds: 1 });
      const moved = await moving.then(
        () => true,
        () => false,
      );
      await expectServed(client);
      if (moved) break; // the answers are not that long
      expect(relay.serverPath).toBe(old.path);
      // A server has one client at a time: it has to notice that the last one went.
      await expect.poll(() => next.device.openCount).toBe(0);
      await expect.poll(openFds).toBe(fds);
    }
    expect(relay.serverPath).toBe(place.path("proxy"));
    expect(bytes).toBeGreaterThan(AT_LEAST);
  }, 60_000);

  it("as the next server after a loss: the client goes on with another", async () => {
    const place = new Place();
    const [first, last] = [await place.server(), await place.server()];
    let bytes = 1;
    await cutting(place.path("proxy"), last.path, () => bytes);
    const relay = place.relay(first.path, {
      onLoss: "none",
      nextPath: place.path("proxy"),
      replyLimit: 20_000,
    });
    const client = await place.client({ twinSocket: false });
    const growing = setInterval(() => (bytes += 40), 5);
    await first.close();
    await expectServed(client);
    clearInterval(growing);
    expect(relay.serverPath).toBe(place.path("proxy"));
  }, 60_000);

  it("or says that it has four thousand million regions: the move is refused", async () => {
    const place = new Place();
    const old = await place.server();
    const relay = place.relay(old.path);
    const client = await place.client({ twinSocket: false });
    const listener = new UnixListener(place.path("fake"));
    const watch = reactor.add(listener.fd, {
      onReadable() {
        const fd = listener.accept();
        if (fd)
          new FakeServer(fd, {
            DEVICE_GET_INFO: () => ({ argsz: 16, flags: 3, num_regions: 0xffff_ffff, num_irqs: 5 }),
          });
        return fd !== undefined;
      },
    });
    onTestFinished(() => {
      watch.remove();
      listener.close();
    });
    const moving = relay.migrate(place.path("fake"), { maxDowntime_ms: 300, maxRounds: 1 });
    await expect(moving).rejects.toThrow("num_regions is 4294967295: at most 256");
    await expectServed(client);
  });
});
