import { readFileSync, fstatSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Errno } from "@vfiokit/core";
import { RegionFlags } from "@vfiokit/core/host";
import { createMemfd, Mapping, socketPair } from "@vfiokit/user/linux";
import { encodeRequest } from "@vfiokit/user/wire";
import { VfioUserClient } from "../../src/client/index.js";
import { connected, FakeServer, LIMITS } from "./fake-server.js";

const PAGE = 4096;

describe("DMA maps", () => {
  it("shared memory goes to the server as a descriptor that it can map", async () => {
    const { client, server } = await connected();
    const memory = client.shareMemory(2 * PAGE);
    memory.bytes.set([1, 2, 3], PAGE);
    await client.dmaMap({ address: 0x10000n, memory, offset: PAGE, writable: false });
    expect(server.requests.at(-1)).toMatchObject({
      command: "DMA_MAP",
      payload: { argsz: 32, flags: 1, offset: BigInt(PAGE), address: 0x10000n, size: BigInt(PAGE) },
    });
    expect(server.fds).toHaveLength(1);
    using mapping = Mapping.ofFile(server.fds[0]!, { offset: PAGE, length: PAGE, writable: true });
    expect([...mapping.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
    mapping.bytes[4] = 5;
    expect(memory.bytes[PAGE + 4]).toBe(5);
  });

  it("memory without a file, or that is not to be shared, goes without descriptor", async () => {
    const { client, server } = await connected();
    await client.dmaMap({ address: 0n, memory: { bytes: new Uint8Array(100) } });
    await client.dmaMap({ address: 0x1000n, memory: client.shareMemory(PAGE), share: false });
    expect(server.fds).toHaveLength(0);
    expect(server.requests.at(-1)).toMatchObject({ payload: { offset: 0n, size: BigInt(PAGE) } });
  });

  it.each([
    ["size 0", { size: 0 }],
    ["size beyond the memory", { size: 101 }],
    ["offset beyond the memory", { offset: 100 }],
    ["negative offset", { offset: -1 }],
    ["sharing what has no file", { share: true }],
  ])("%s is refused before it is sent", async (_what, options) => {
    const { client, server } = await connected();
    const map = { address: 0n, memory: { bytes: new Uint8Array(100) }, ...options };
    await expect(client.dmaMap(map)).rejects.toMatchObject({ code: "EINVAL" });
    expect(server.requests).toHaveLength(1);
  });

  it("maps do not overlap", async () => {
    const { client } = await connected();
    const memory = { bytes: new Uint8Array(100) };
    await client.dmaMap({ address: 100n, memory });
    for (const address of [1n, 50n, 100n, 199n]) {
      await expect(client.dmaMap({ address, memory })).rejects.toMatchObject({ code: "EEXIST" });
    }
    await client.dmaMap({ address: 0n, memory });
    await client.dmaMap({ address: 200n, memory });
  });

  it("unmap one, unmap all", async () => {
    const { client, server } = await connected();
    const memory = { bytes: new Uint8Array(100) };
    for (const address of [0n, 100n, 200n]) await client.dmaMap({ address, memory });
    await client.dmaUnmap(100n, 100);
    expect(server.requests.at(-1)).toMatchObject({ payload: { flags: 0, address: 100n, size: 100n } });
    expect(await server.ask("DMA_READ", { address: 100n, count: 1n })).toMatchObject({ errno: Errno.EFAULT });
    await client.dmaUnmapAll();
    expect(server.requests.at(-1)).toMatchObject({ payload: { flags: 2, address: 0n, size: 0n } });
    expect(await server.ask("DMA_READ", { address: 0n, count: 1n })).toMatchObject({ errno: Errno.EFAULT });
  });

  it("a map that the server refuses does not exist", async () => {
    const { client, server } = await connected({ DMA_MAP: () => Errno.ENOSPC });
    const map = { address: 0n, memory: { bytes: new Uint8Array(100) } };
    await expect(client.dmaMap(map)).rejects.toMatchObject({ code: "ENOSPC" });
    expect(await server.ask("DMA_READ", { address: 0n, count: 1n })).toMatchObject({ errno: Errno.EFAULT });
  });
});

describe("the server's access to memory", () => {
  it("reads and writes, across adjacent maps", async () => {
    const { client, server } = await connected();
    const low = new Uint8Array([1, 2, 3, 4]);
    const high = new Uint8Array([5, 6, 7, 8]);
    await client.dmaMap({ address: 0x1_0000_0000_0000n, memory: { bytes: low } });
    await client.dmaMap({ address: 0x1_0000_0000_0004n, memory: { bytes: high } });
    const address = 0x1_0000_0000_0002n;
    expect(await server.ask("DMA_READ", { address, count: 4n })).toMatchObject({
      kind: "reply",
      command: "DMA_READ",
      msg_id: 77,
      payload: { address, count: 4n, data: new Uint8Array([3, 4, 5, 6]) },
    });
    const data = new Uint8Array([9, 10, 11]);
    expect(await server.ask("DMA_WRITE", { address, count: 3n, data })).toMatchObject({
      payload: { written: { address, count: 3n } },
    });
    expect([...low, ...high]).toEqual([1, 2, 9, 10, 11, 6, 7, 8]);
  });

  it("before the map's own reply has arrived", async () => {
    const { client, server } = await connected({ DMA_MAP: () => undefined });
    const arrived = server.next("DMA_MAP");
    const mapped = client.dmaMap({ address: 0n, memory: { bytes: new Uint8Array([42]) } });
    const request = await arrived;
    expect(await server.ask("DMA_READ", { address: 0n, count: 1n })).toMatchObject({
      payload: { data: new Uint8Array([42]) },
    });
    server.reply(request, {});
    await mapped;
  });

  it.each([
    ["below a map", { address: 0xfffn, count: 2n }, "EFAULT"],
    ["beyond a map", { address: 0x1003n, count: 2n }, "EFAULT"],
    ["nowhere", { address: 0xffff_ffff_ffff_0000n, count: 1n }, "EFAULT"],
    ["that wraps", { address: 0xffff_ffff_ffff_ffffn, count: 2n }, "EINVAL"],
    ["of more than max_data_xfer_size", { address: 0x1000n, count: 0x10_0001n }, "E2BIG"],
    ["of 2^64 - 1 bytes", { address: 0n, count: 0xffff_ffff_ffff_ffffn }, "E2BIG"],
    ["of write-only memory", { address: 0x2000n, count: 1n }, "EPERM"],
  ] as const)("a read %s is refused", async (_what, request, code) => {
    const { client, server } = await connected();
    const memory = { bytes: new Uint8Array(4) };
    await client.dmaMap({ address: 0x1000n, memory });
    await client.dmaMap({ address: 0x2000n, memory, readable: false });
    // The rule on wrapping would not let it out of our own encoder.
    const bytes = encodeRequest("DMA_READ", 77, { address: 0n, count: 0n });
    const view = new DataView(bytes.buffer);
    view.setBigUint64(16, request.address, true);
    view.setBigUint64(24, request.count, true);
    const reply = server.nextReply();
    server.raw(bytes);
    expect(await reply).toMatchObject({ kind: "error", errno: Errno[code] });
  });

  it("a write to read-only memory is refused, and changes nothing", async () => {
    const { client, server } = await connected();
    const bytes = new Uint8Array([1, 2]);
    await client.dmaMap({ address: 0n, memory: { bytes }, writable: false });
    const data = new Uint8Array([7, 7]);
    expect(await server.ask("DMA_WRITE", { address: 0n, count: 2n, data })).toMatchObject({
      errno: Errno.EPERM,
    });
    expect([...bytes]).toEqual([1, 2]);
  });

  it("memory that was disposed of while it was mapped", async () => {
    const { client, server } = await connected();
    const memory = client.shareMemory(PAGE);
    await client.dmaMap({ address: 0n, memory });
    memory[Symbol.dispose]();
    expect(await server.ask("DMA_READ", { address: 0n, count: 1n })).toMatchObject({ errno: Errno.EFAULT });
  });

  it("other commands are not for a client", async () => {
    const { server } = await connected();
    expect(await server.ask("DEVICE_RESET", {})).toMatchObject({ kind: "error", errno: Errno.EINVAL });
  });

  it("over the twin socket, where there is one", async () => {
    const [ours, theirs] = socketPair();
    const [twin, forClient] = socketPair();
    const server = new FakeServer(theirs, {
      VERSION: ({ major, minor }, self) => {
        self.replyFds = [forClient];
        const twin_socket = { supported: true, fd_index: 0 };
        return { major, minor, data: { capabilities: { ...LIMITS, twin_socket } } };
      },
    });
    const commands = new FakeServer(twin);
    using client = await VfioUserClient.connect(ours);
    forClient.close();
    expect(client.limits.twinSocket).toBe(true);
    await client.dmaMap({ address: 0n, memory: { bytes: new Uint8Array([42]) } });
    expect(await commands.ask("DMA_READ", { address: 0n, count: 1n })).toMatchObject({
      payload: { count: 1n },
    });
    expect(server.replies).toHaveLength(0);
    client.close();
    expect((await commands.ended).code).toBe("ECONNRESET");
  });

  it("a twin socket that ends takes the connection with it", async () => {
    const [ours, theirs] = socketPair();
    const [twin, forClient] = socketPair();
    new FakeServer(theirs, {
      VERSION: ({ major, minor }, self) => {
        self.replyFds = [forClient];
        return { major, minor, data: { capabilities: { twin_socket: { supported: true, fd_index: 0 } } } };
      },
    });
    using client = await VfioUserClient.connect(ours);
    forClient.close();
    const gone = new Promise((resolve) => client.once("disconnected", resolve));
    twin.close();
    expect(await gone).toMatchObject({ code: "ECONNRESET" });
  });
});

describe("mapped regions", () => {
  const region = (fd: ReturnType<typeof createMemfd>, sparse: boolean) =>
    connected({
      DEVICE_GET_REGION_INFO: ({ index }, server) => {
        server.replyFds = [fd];
        return {
          argsz: 32 + (sparse ? 48 : 0),
          flags: RegionFlags.READ | RegionFlags.WRITE | RegionFlags.MMAP | (sparse ? RegionFlags.CAPS : 0),
          index,
          cap_offset: sparse ? 32 : 0,
          size: BigInt(3 * PAGE),
          offset: BigInt(PAGE),
          capabilities: sparse
            ? [
                {
                  kind: "sparse-mmap" as const,
                  version: 1,
                  areas: [
                    { offset: 0n, size: BigInt(PAGE) },
                    { offset: BigInt(2 * PAGE), size: BigInt(PAGE) },
                  ],
                },
              ]
            : [],
        };
      },
    });

  it("whole, at the offset that the server gives", async () => {
    using fd = createMemfd("region", 4 * PAGE);
    using file = Mapping.ofFile(fd, { length: 4 * PAGE, writable: true });
    file.bytes[PAGE] = 7;
    const { client } = await region(fd, false);
    const mapped = await client.mapRegion(2);
    expect(mapped.areas.map(({ offset, bytes }) => [offset, bytes.length])).toEqual([[0, 3 * PAGE]]);
    expect(mapped.areas[0]!.bytes[0]).toBe(7);
    mapped.areas[0]!.bytes[1] = 8;
    expect(file.bytes[PAGE + 1]).toBe(8);
    client.close();
    expect(mapped.areas[0]!.bytes).toHaveLength(0);
  });

  it("sparse: the areas alone", async () => {
    using fd = createMemfd("region", 4 * PAGE);
    using file = Mapping.ofFile(fd, { length: 4 * PAGE, writable: true });
    file.bytes[3 * PAGE] = 9;
    const { client } = await region(fd, true);
    using mapped = await client.mapRegion(2);
    expect(mapped.areas.map(({ offset, bytes }) => [offset, bytes.length])).toEqual([
      [0, PAGE],
      [2 * PAGE, PAGE],
    ]);
    expect(mapped.areas[1]!.bytes[0]).toBe(9);
  });

  it("a file that is too short is refused, not mapped", async () => {
    using fd = createMemfd("region", 3 * PAGE);
    const { client } = await region(fd, false);
    await expect(client.mapRegion(2)).rejects.toMatchObject({ code: "EINVAL" });
  });

  it("what is no file is refused", async () => {
    const [one, other] = socketPair();
    const { client } = await region(one, false);
    await expect(client.mapRegion(2)).rejects.toMatchObject({ code: "EINVAL" });
    one.close();
    other.close();
  });

  it("a region that cannot be mapped", async () => {
    const { client } = await connected();
    await expect(client.mapRegion(0)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
  });

  it("capabilities that need more room are asked for again", async () => {
    const areas = Array.from({ length: 300 }, (_, i) => ({ offset: BigInt(i * PAGE), size: BigInt(PAGE) }));
    const needed = 32 + 16 + 300 * 16;
    const { client, server } = await connected({
      DEVICE_GET_REGION_INFO: ({ index, argsz }) => ({
        argsz: needed,
        flags: RegionFlags.READ | RegionFlags.MMAP | RegionFlags.CAPS,
        index,
        cap_offset: argsz < needed ? 0 : 32,
        size: BigInt(300 * PAGE),
        offset: 0n,
        capabilities: argsz < needed ? [] : [{ kind: "sparse-mmap" as const, version: 1, areas }],
      }),
    });
    expect((await client.getRegionInfo(0)).mmapAreas).toHaveLength(300);
    expect(server.requests.slice(1).map(({ payload }) => (payload as { argsz: number }).argsz)).toEqual([
      4096,
      needed,
    ]);
  });

  it.each([
    ["an area outside of the region", 0n, 0x4000n],
    ["an empty area", 0n, 0n],
    ["an area at 2^63", 1n << 63n, 1n],
  ])("%s is nonsense", async (_what, offset, size) => {
    const { client } = await connected({
      DEVICE_GET_REGION_INFO: ({ index }) => ({
        argsz: 64,
        flags: RegionFlags.READ | RegionFlags.MMAP | RegionFlags.CAPS,
        index,
        cap_offset: 32,
        size: BigInt(3 * PAGE),
        offset: 0n,
        capabilities: [{ kind: "sparse-mmap" as const, version: 1, areas: [{ offset, size }] }],
      }),
    });
    await expect(client.getRegionInfo(0)).rejects.toMatchObject({ code: "EPROTO" });
  });
});

it("shared memory is sealed: a server cannot shrink it under the client", async () => {
  const { client, server } = await connected();
  await client.dmaMap({ address: 0n, memory: client.shareMemory(PAGE) });
  const fd = server.fds[0]!;
  expect(fstatSync(fd.number).size).toBe(PAGE);
  const { ftruncateSync } = await import("node:fs");
  expect(() => ftruncateSync(fd.number, 0)).toThrow(/EPERM/);
  expect(readFileSync(`/proc/self/fd/${fd.number}`)).toHaveLength(PAGE);
});
