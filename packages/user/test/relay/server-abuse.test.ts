/** A server that breaks the protocol loses its connection; its client goes on with the next one. */

import { expect, it, onTestFinished } from "vitest";
import { openFds, reactor, UnixListener } from "@vfiokit/user/linux";
import { encodeReply, encodeRequest, Header } from "@vfiokit/user/wire";
import { FakeServer } from "../client/fake-server.js";
import { Place } from "./support.js";

const IRQ = { argsz: 16, flags: 1, count: 1 };
const header = (fields: Partial<Parameters<typeof Header.encode>[0]>): Uint8Array =>
  Header.encode({ msg_id: 0, cmd: 9, msg_size: 16, flags: 1, error_no: 0, ...fields });

/** A server that answers every connection with a new `FakeServer`. */
function fakeServers(path: string): FakeServer[] {
  const servers: FakeServer[] = [];
  const listener = new UnixListener(path);
  const watch = reactor.add(listener.fd, {
    onReadable() {
      const fd = listener.accept();
      if (fd) servers.push(new FakeServer(fd, { DEVICE_GET_IRQ_INFO: ({ index }) => ({ ...IRQ, index }) }));
      return fd !== undefined;
    },
  });
  onTestFinished(() => {
    watch.remove();
    listener.close();
  });
  return servers;
}

it.each([
  ["a size below a header", header({ msg_size: 3 })],
  ["a size of 4 GiB", header({ msg_size: 0xffff_fff0 })],
  ["a type of message that there is not", header({ flags: 9 })],
  ["an answer to nothing", header({ msg_id: 17 })],
  ["an answer to nothing of the relay's own", header({ msg_id: 5000 })],
])("%s", async (_name, garbage) => {
  const place = new Place();
  const servers = fakeServers(place.path("fake"));
  place.relay(place.path("fake"), { onLoss: "none" });
  const client = await place.client();
  expect(servers).toHaveLength(1);
  servers[0]!.raw(garbage);
  await servers[0]!.ended;
  await expect.poll(() => servers.length).toBe(2);
  const into = new Uint8Array(2);
  await client.regionRead(0, 4, into);
  expect(into).toEqual(Uint8Array.of(4, 5));
});

it("an answer to another command than was asked", async () => {
  const place = new Place();
  const servers = fakeServers(place.path("fake"));
  place.relay(place.path("fake"), { onLoss: "none" });
  const client = await place.client();
  const asked = servers[0]!.next("DEVICE_RESET");
  // Answered by the fake at once; its second answer is one too many.
  await client.reset();
  servers[0]!.raw(encodeReply("DEVICE_RESET", (await asked).msg_id, {}));
  await servers[0]!.ended;
  await expect.poll(() => servers.length).toBe(2);
});

it("descriptors where none belong are closed", async () => {
  const place = new Place();
  const servers = fakeServers(place.path("fake"));
  place.relay(place.path("fake"), { onLoss: "none" });
  const client = await place.client();
  using memory = client.shareMemory(0x1000);
  const before = openFds();
  servers[0]!.raw(encodeRequest("DMA_READ", 7, { address: 0n, count: 4n }), [memory.file]);
  expect(await servers[0]!.nextReply()).toMatchObject({ kind: "error", msg_id: 7 });
  await expect.poll(openFds).toBe(before);
});
