/** A client that goes when the relay has just asked its server all that it needs for the answer to VERSION. */

import { afterEach, expect, it, vi } from "vitest";
import { openFds, openMappings } from "@vfiokit/user/linux";
import { encodeRequest } from "@vfiokit/user/wire";
import { VfioUserClient } from "../../src/client/index.js";
import { connectRaw } from "../server/support.js";
import { Place } from "./support.js";

const asked = vi.hoisted(() => ({ then: (): void => undefined }));
vi.mock("../../src/relay/compare.js", async (original) => {
  const compare = await original<typeof import("../../src/relay/compare.js")>();
  return {
    ...compare,
    shapeOf: async (...args: Parameters<typeof compare.shapeOf>) => {
      const shape = await compare.shapeOf(...args);
      asked.then();
      return shape;
    },
  };
});
afterEach(() => (asked.then = () => undefined));

it("a client that has gone before it hears the answer to VERSION leaves the server to others", async () => {
  const place = new Place();
  const server = await place.server();
  const relay = place.relay(server.path);
  const before = { fds: openFds(), mappings: openMappings() };
  const capabilities = { max_msg_fds: 8, twin_socket: { supported: true } };
  const raw = connectRaw(place.relayPath);
  const gone = new Promise<void>((resolve) => {
    asked.then = () => {
      raw.close();
      resolve();
    };
  });
  await raw.send(encodeRequest("VERSION", 1, { major: 0, minor: 1, data: { capabilities } }));
  await gone;
  await expect.poll(() => relay.status.connected).toBe(false);
  await expect.poll(() => ({ fds: openFds(), mappings: openMappings() })).toEqual(before);
  using client = await VfioUserClient.connect(server.path);
  expect(await client.getInfo()).toMatchObject({ numRegions: 9 });
});
