/** A client and a server that cannot tell that there is a relay between them. */

import { describe, expect, onTestFinished, it } from "vitest";
import { Errno, IrqIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { RegionFlags } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { openFds, openMappings } from "@vfiokit/user/linux";
import { Command, encodeRequest, HeaderFlags, Header } from "@vfiokit/user/wire";
import type { VfioUserClient } from "../../src/client/index.js";
import {
  BAR_MEMORY,
  BAR_REGISTERS,
  BROKEN,
  connectRaw,
  CONFIG,
  INTERRUPT,
  VALUE,
  type RawClient,
  type RawReply,
} from "../server/support.js";
import { Place, type TestServer } from "./support.js";

const bytesOf = (value: number): Uint8Array => Uint8Array.from([value, 0, 0, 0]);

async function setup(
  options: Parameters<Place["server"]>[0] = {},
  clientOptions: Parameters<Place["client"]>[0] = {},
): Promise<{ place: Place; server: TestServer; client: VfioUserClient }> {
  const place = new Place();
  const server = await place.server(options);
  place.relay(server.path);
  return { place, server, client: await place.client(clientOptions) };
}

describe("the server's answers arrive", () => {
  it("about the device, its regions and its interrupts", async () => {
    const { client } = await setup();
    expect(await client.getInfo()).toEqual({ flags: 3, numRegions: 9, numIrqs: 5 });
    expect(await client.getRegionInfo(CONFIG)).toMatchObject({ flags: RegionFlags.READ | RegionFlags.WRITE });
    expect(await client.getIrqInfo(IrqIndex.MSIX)).toMatchObject({ count: 4 });
  });

  it("with the server's own errors", async () => {
    const { client } = await setup();
    await expect(client.getRegionInfo(9)).rejects.toMatchObject({ code: "EINVAL" });
    await expect(client.regionRead(BAR_REGISTERS, 0x40, bytesOf(0))).rejects.toMatchObject({
      code: "EINVAL",
    });
    await expect(client.regionRead(BAR_REGISTERS, BROKEN, bytesOf(0))).rejects.toMatchObject({ code: "EIO" });
    await expect(client.dmaUnmap(0x1000n, 0x1000n)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("to reads and writes of regions", async () => {
    const { client, server } = await setup();
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
    expect(server.fn.value).toBe(42);
    const into = new Uint8Array(4);
    await client.regionRead(BAR_REGISTERS, VALUE, into);
    expect(into).toEqual(bytesOf(42));
  });

  it("to a thousand commands that did not wait for each other, each to its own", async () => {
    const { client } = await setup();
    const reads = Array.from({ length: 3000 }, async (_, i) => {
      const into = new Uint8Array(1 + (i % 4));
      await client.regionRead(CONFIG, i % 4 === 3 ? 0 : i % 4, into);
      return into;
    });
    const config = new Uint8Array(8);
    await client.regionRead(CONFIG, 0, config);
    for (const [i, bytes] of (await Promise.all(reads)).entries()) {
      const at = i % 4 === 3 ? 0 : i % 4;
      expect(bytes).toEqual(config.slice(at, at + 1 + (i % 4)));
    }
  });

  it("to a reset, and to writes of many at a time", async () => {
    const { client, server } = await setup();
    const write = (offset: number, value: number) => ({
      region: BAR_REGISTERS,
      offset,
      data: bytesOf(value),
    });
    await client.regionWriteMulti([write(VALUE, 1), write(VALUE, 2), write(8, 3)]);
    expect(server.fn.writes).toEqual(["0=1/4", "0=2/4", "8=3/4"]);
    await client.reset();
    expect(server.fn.resets).toBe(1);
  });

  it("in transfers as large as the limit", async () => {
    const { client } = await setup();
    const data = Uint8Array.from({ length: 0x4000 }, (_, i) => i * 7);
    await client.regionWrite(CONFIG, PciHeader.COMMAND, Uint8Array.from([PciCommand.MEMORY, 0]));
    await client.regionWrite(BAR_MEMORY, 0, data);
    const back = new Uint8Array(data.length);
    await client.regionRead(BAR_MEMORY, 0, back);
    expect(back).toEqual(data);
  });
});

it("a region is never offered for mapping", async () => {
  const { client, server } = await setup();
  expect(server.device.regionInfo(BAR_MEMORY).mmapAreas).toHaveLength(1);
  const info = await client.getRegionInfo(BAR_MEMORY);
  expect(info.flags).toBe(RegionFlags.READ | RegionFlags.WRITE);
  expect(info.mmapAreas).toEqual([]);
  expect(info).toMatchObject({ size: 0x4000 });
});

it("no ioeventfd is handed out: it would go past the relay", async () => {
  const { client } = await setup();
  const fds = await client.getRegionIoFds(BAR_REGISTERS);
  expect(fds.subRegions).toEqual([]);
});

it("interrupts go straight to the client", async () => {
  const { client } = await setup();
  const intx = client.irq(IrqIndex.INTX);
  await intx.enable(1);
  const next = intx.next();
  await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
  expect(await next).toBe(0);
});

describe.each([
  ["over the same socket", false],
  ["over a second socket", true],
])("the server reaches the client's memory %s", (_name, twinSocket) => {
  it("by messages", async () => {
    const { client, server } = await setup({ twinSocket }, { twinSocket });
    expect(client.limits.twinSocket).toBe(twinSocket);
    const memory = { bytes: Uint8Array.from({ length: 0x2000 }, (_, i) => i) };
    await client.dmaMap({ address: 0x10000n, memory });
    const task = new Task("device");
    const into = new Uint8Array(16);
    await server.device.dma.read(0x10010n, into, task);
    expect(into).toEqual(memory.bytes.slice(0x10, 0x20));
    await server.device.dma.write(0x10100n, into, task);
    expect(memory.bytes.slice(0x100, 0x110)).toEqual(into);
    await client.dmaUnmap(0x10000n, 0x2000n);
    await expect(server.device.dma.read(0x10010n, into, task)).rejects.toMatchObject({ code: "EFAULT" });
  });

  it("in a file that it maps", async () => {
    const { client, server } = await setup({ twinSocket }, { twinSocket });
    const memory = client.shareMemory(0x2000);
    memory.bytes[5] = 77;
    await client.dmaMap({ address: 0x10000n, memory });
    const into = new Uint8Array(1);
    await server.device.dma.read(0x10005n, into, new Task("device"));
    expect(into).toEqual(Uint8Array.of(77));
  });
});

describe("a client that breaks the protocol", () => {
  it.each([
    ["a size below a header", () => Header.encode({ msg_id: 1, cmd: 4, msg_size: 3, flags: 0, error_no: 0 })],
    [
      "a size of 4 GiB",
      () => Header.encode({ msg_id: 1, cmd: 4, msg_size: 0xffff_fff0, flags: 0, error_no: 0 }),
    ],
    [
      "an answer to nothing",
      () => Header.encode({ msg_id: 1, cmd: 11, msg_size: 16, flags: 1, error_no: 0 }),
    ],
  ])("by %s is disconnected, and the next one is served", async (_name, message) => {
    const place = new Place();
    const server = await place.server();
    place.relay(server.path);
    using raw = connectRaw(place.relayPath);
    await raw.negotiate();
    await raw.send(message());
    for (const { flags } of await untilEnd(raw)) expect(flags).toBe(HeaderFlags.ERROR | 1);
    const client = await connectSoon(place);
    expect(await client.getInfo()).toMatchObject({ numRegions: 9 });
  });

  it("by a first message that is not VERSION never reaches a server", async () => {
    const place = new Place();
    const server = await place.server();
    place.relay(server.path);
    using raw = connectRaw(place.relayPath);
    await raw.send(encodeRequest("DEVICE_RESET", 1, {}));
    expect(await untilEnd(raw)).toMatchObject([{ id: 1, errno: Errno.EPROTO }]);
    expect(server.log).toEqual([]);
  });

  it("by a VERSION that is none hears so before the connection ends: QEMU aborts where it only ends", async () => {
    const place = new Place();
    const server = await place.server();
    place.relay(server.path);
    using raw = connectRaw(place.relayPath);
    const data = new TextEncoder().encode("\0\0\0\0{no JSON");
    const header = Header.encode({ msg_id: 7, cmd: 1, msg_size: 16 + data.length, flags: 0, error_no: 0 });
    await raw.send(Uint8Array.from([...header, ...data]));
    expect(await untilEnd(raw)).toMatchObject([{ id: 7, cmd: Command.VERSION, errno: Errno.EINVAL }]);
    expect(server.log).toEqual([]);
  });

  it("by a type that no message has is refused, and goes on, as at a server", async () => {
    const place = new Place();
    const server = await place.server();
    place.relay(server.path);
    for (const path of [server.path, place.relayPath]) {
      using raw = connectRaw(path);
      await raw.negotiate();
      const header = Header.encode({ msg_id: 9, cmd: 9, msg_size: 16, flags: 15, error_no: 0 });
      expect(await raw.exchange(header)).toMatchObject({ id: 9, errno: Errno.EINVAL });
      expect(await raw.read(CONFIG, 0, 2)).toBe(0x1b36);
    }
  });

  it("in a way that only the server knows gets the server's answer", async () => {
    const place = new Place();
    const server = await place.server();
    place.relay(server.path);
    using raw = connectRaw(place.relayPath);
    await raw.negotiate();
    const unknown = await raw.exchange(
      Header.encode({ msg_id: 9, cmd: 14, msg_size: 16, flags: 0, error_no: 0 }),
    );
    expect(unknown).toMatchObject({ id: 9, cmd: 14, flags: HeaderFlags.ERROR | 1, errno: 22 });
    expect(await raw.read(CONFIG, 0, 2)).toBe(0x1b36);
  });
});

it("many clients one after the other leave nothing behind", async () => {
  const place = new Place();
  const server = await place.server();
  place.relay(server.path);
  const before = { fds: openFds(), mappings: openMappings() };
  for (let round = 0; round < 20; round++) {
    const client = await connectSoon(place, { twinSocket: round % 2 === 0 });
    const memory = client.shareMemory(0x1000);
    await client.dmaMap({ address: 0x1000n, memory });
    await client.irq(IrqIndex.MSIX).enable(4);
    await client.getRegionInfo(BAR_MEMORY);
    client.close();
    memory[Symbol.dispose]();
  }
  const last = await connectSoon(place);
  last.close();
  await expect.poll(() => ({ fds: openFds(), mappings: openMappings() })).toEqual(before);
});

it("a second client is turned away while one is connected", async () => {
  const { place } = await setup();
  await expect(place.client()).rejects.toMatchObject({ code: "EBUSY" });
});

it("without a server the client is told so", async () => {
  const place = new Place();
  place.relay(place.path("nobody.sock"));
  await expect(place.client()).rejects.toThrow();
  onTestFinished(() => undefined);
});

/** What is still said before the connection ends. */
async function untilEnd(client: RawClient): Promise<RawReply[]> {
  const replies: RawReply[] = [];
  for (;;) {
    const reply = await client.nextOrEnd();
    if (!reply) return replies;
    replies.push(reply);
  }
}

/** The relay may still be busy with the last one's end. */
async function connectSoon(
  place: Place,
  options: Parameters<Place["client"]>[0] = {},
): Promise<VfioUserClient> {
  for (;;) {
    try {
      return await place.client(options);
    } catch (error) {
      if (!/EBUSY|EAGAIN|EPIPE/.test(String(error))) throw error;
      await new Promise(setImmediate);
    }
  }
}

it("more than 4 KiB before a version is agreed on: the relay ends that connection, and serves the next client", async () => {
  const place = new Place();
  const server = await place.server();
  place.relay(server.path);
  const client = connectRaw(place.relayPath);
  await client.send(
    Header.encode({ msg_id: 1, cmd: Command.VERSION, msg_size: 4097, flags: 0, error_no: 0 }),
  );
  expect(await untilEnd(client)).toMatchObject([{ id: 1, errno: Errno.EMSGSIZE }]);
  client.close();
  const next = await place.client();
  expect((await next.getInfo()).numRegions).toBeGreaterThan(0);
});
