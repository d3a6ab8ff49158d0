import { describe, expect, it } from "vitest";
import { Errno, IrqIndex, VfioError } from "@vfiokit/core";
import { socketPair } from "@vfiokit/user/linux";
import { encodeReply } from "@vfiokit/user/wire";
import { ReplyError, VfioUserClient } from "../../src/client/index.js";
import { connected, FakeServer, LIMITS } from "./fake-server.js";

describe("negotiation", () => {
  it("proposes version 0.1 and its capabilities, and takes the server's", async () => {
    const { client, server } = await connected();
    expect(server.requests[0]).toMatchObject({
      command: "VERSION",
      payload: {
        major: 0,
        minor: 1,
        data: {
          capabilities: {
            max_msg_fds: 64,
            max_data_xfer_size: 1048576,
            max_dma_maps: 65535,
            pgsizes: 4096,
            write_multiple: true,
            twin_socket: { supported: true },
          },
        },
      },
    });
    expect(client.limits).toMatchObject({
      version: "0.1",
      maxMsgFds: 8,
      maxDataXferSize: 4096,
      maxDmaMaps: 65535,
      pgsizes: 4096n,
      writeMultiple: true,
      twinSocket: false,
      capabilities: LIMITS,
    });
  });

  it("a server that says nothing has the specification's defaults", async () => {
    const { client } = await connected({ VERSION: () => ({ major: 0, minor: 0, data: undefined }) });
    expect(client.limits).toMatchObject({ maxMsgFds: 1, maxDataXferSize: 1048576, writeMultiple: false });
  });

  it.each([
    ["another major", { major: 1, minor: 0, data: undefined }],
    ["a newer minor than proposed", { major: 0, minor: 2, data: undefined }],
    ["a transfer size of 0", { major: 0, minor: 1, data: { capabilities: { max_data_xfer_size: 0 } } }],
    [
      "a twin socket without descriptor",
      { major: 0, minor: 1, data: { capabilities: { twin_socket: { supported: true, fd_index: 0 } } } },
    ],
    [
      "a twin socket without index",
      { major: 0, minor: 1, data: { capabilities: { twin_socket: { supported: true } } } },
    ],
  ])("refuses %s, and closes the connection", async (_what, reply) => {
    const [ours, theirs] = socketPair();
    const server = new FakeServer(theirs, { VERSION: () => reply });
    await expect(VfioUserClient.connect(ours)).rejects.toMatchObject({ code: "EPROTO" });
    expect((await server.ended).code).toBe("ECONNRESET");
  });

  it("a server that refuses", async () => {
    const [ours, theirs] = socketPair();
    new FakeServer(theirs, { VERSION: () => Errno.EINVAL });
    await expect(VfioUserClient.connect(ours)).rejects.toMatchObject({ command: "VERSION", code: "EINVAL" });
  });

  it("a server that says nothing at all: ETIMEDOUT, by signal ECANCELED", async () => {
    for (const options of [{ timeoutMs: 20 }, { signal: AbortSignal.timeout(20) }]) {
      const [ours, theirs] = socketPair();
      new FakeServer(theirs, { VERSION: () => undefined });
      const code = "signal" in options ? "ECANCELED" : "ETIMEDOUT";
      await expect(VfioUserClient.connect(ours, options)).rejects.toMatchObject({ code });
    }
  });
});

describe("commands", () => {
  it("device and region info", async () => {
    const { client } = await connected();
    expect(await client.getInfo()).toEqual({ flags: 3, numRegions: 9, numIrqs: 5 });
    expect(await client.getRegionInfo(7)).toMatchObject({ index: 7, size: 256, mmapAreas: [] });
  });

  it("an error has the errno of the reply, also one that has no name here", async () => {
    let errno: number = Errno.EBUSY;
    const { client } = await connected({ DEVICE_RESET: () => errno });
    const refusal = async (): Promise<ReplyError> =>
      client.reset().then(
        () => expect.unreachable(),
        (error: unknown) => error as ReplyError,
      );
    expect(await refusal()).toMatchObject({ code: "EBUSY", errno: 16, command: "DEVICE_RESET" });
    expect(await refusal()).toBeInstanceOf(VfioError);
    errno = 200;
    expect(await refusal()).toMatchObject({ code: "EIO", errno: 200 });
    errno = 0;
    expect(await refusal()).toMatchObject({ code: "EIO", errno: Errno.EIO });
  });

  it("region reads and writes go through the caller's buffer", async () => {
    const { client, server } = await connected();
    const buffer = new Uint8Array(8);
    expect(await client.regionRead(2, 16, buffer.subarray(2, 6))).toBe(4);
    expect([...buffer]).toEqual([0, 0, 16, 17, 18, 19, 0, 0]);
    expect(await client.regionWrite(2, 0x1_0000_0000, buffer)).toBe(8);
    expect(server.requests.at(-1)).toMatchObject({
      command: "REGION_WRITE",
      payload: { offset: 0x1_0000_0000n, region: 2, count: 8, data: buffer },
    });
  });

  it("transfers above the limit are cut to pieces, all under way together", async () => {
    const { client, server } = await connected();
    const all = Uint8Array.from({ length: 10_000 }, (_, i) => i);
    expect(await client.regionWrite(0, 100, all)).toBe(10_000);
    const pieces = server.requests
      .slice(1)
      .map(({ payload }) => payload as { offset: bigint; count: number });
    expect(pieces.map(({ offset, count }) => [offset, count])).toEqual([
      [100n, 4096],
      [4196n, 4096],
      [8292n, 1808],
    ]);
    const back = new Uint8Array(10_000);
    expect(await client.regionRead(0, 0, back)).toBe(10_000);
    expect(back).toEqual(all);
  });

  it("a piece that fails fails the whole, once no other piece can touch the caller's buffer any more", async () => {
    const held: (() => void)[] = [];
    const { client } = await connected({
      REGION_READ: ({ offset, region, count }, server, request) => {
        if (offset === 0n) return Errno.EIO;
        held.push(() =>
          server.reply(request, { offset, region, count, data: new Uint8Array(count).fill(1) }),
        );
        if (held.length === 2) setImmediate(() => held.forEach((answer) => answer()));
        return undefined;
      },
    });
    const buffer = new Uint8Array(3 * 4096);
    await expect(client.regionRead(0, 0, buffer)).rejects.toMatchObject({ code: "EIO" });
    expect(client.outstanding).toBe(0);
  });

  it("a server that reads less says so", async () => {
    const { client } = await connected({
      REGION_READ: ({ offset, region }) => ({ offset, region, count: 1, data: new Uint8Array([7]) }),
    });
    expect(await client.regionRead(0, 0, new Uint8Array(4))).toBe(1);
  });

  it("posted writes have no reply", async () => {
    const { client, server } = await connected();
    const arrived = server.next("REGION_WRITE");
    await client.regionPost(1, 4, new Uint8Array([1, 2]));
    expect(await arrived).toMatchObject({ no_reply: true, payload: { offset: 4n, region: 1, count: 2 } });
    expect(client.outstanding).toBe(0);
    await client.reset();
  });

  it("several writes in one message, if the server can", async () => {
    const { client, server } = await connected();
    const data = new Uint8Array([1, 2, 3, 4]);
    expect(
      await client.regionWriteMulti([
        { region: 0, offset: 8, data },
        { region: 1, offset: 9, data },
      ]),
    ).toBe(2);
    expect(server.requests.at(-1)).toMatchObject({
      payload: { wrs: [{ offset: 8n, count: 4 }, { offset: 9n }] },
    });
    const plain = await connected({ VERSION: () => ({ major: 0, minor: 1, data: undefined }) });
    await expect(plain.client.regionWriteMulti([])).rejects.toMatchObject({ code: "EOPNOTSUPP" });
  });

  it("a thousand commands are under way at a time; replies find theirs in any order", async () => {
    const held: (() => void)[] = [];
    const { client } = await connected({
      REGION_READ: ({ offset, region, count }, server, request) => {
        held.push(() =>
          server.reply(request, { offset, region, count, data: new Uint8Array(4).fill(Number(offset)) }),
        );
        if (held.length === 1000) for (const answer of held.reverse()) answer();
        return undefined;
      },
    });
    const buffers = Array.from({ length: 1000 }, () => new Uint8Array(4));
    await Promise.all(buffers.map((buffer, i) => client.regionRead(0, i % 256, buffer)));
    expect(buffers.every((buffer, i) => buffer.every((byte) => byte === i % 256))).toBe(true);
    expect(client.outstanding).toBe(0);
  });

  it("a command that is given up leaves the caller's buffer alone, and its id taken until the reply comes", async () => {
    let late!: () => void;
    const { client, server } = await connected({
      REGION_READ: ({ offset, region, count }, self, request) => {
        late = () => self.reply(request, { offset, region, count, data: new Uint8Array(4).fill(9) });
        return undefined;
      },
    });
    const buffer = new Uint8Array(4);
    const controller = new AbortController();
    const arrived = server.next("REGION_READ");
    const read = client.regionRead(0, 0, buffer, { signal: controller.signal });
    await arrived;
    controller.abort("enough");
    await expect(read).rejects.toMatchObject({ code: "ECANCELED", cause: "enough" });
    expect(client.outstanding).toBe(1);
    late();
    await client.reset();
    expect([...buffer]).toEqual([0, 0, 0, 0]);
    expect(client.outstanding).toBe(0);
  });

  it("timeouts, per call and per client", async () => {
    const { client } = await connected({ DEVICE_RESET: () => undefined }, { timeoutMs: 30 });
    await expect(client.reset()).rejects.toMatchObject({ code: "ETIMEDOUT" });
    await expect(client.reset({ timeoutMs: 1 })).rejects.toMatchObject({ code: "ETIMEDOUT" });
    await client.getInfo();
  });

  it("a signal that was aborted before sends nothing", async () => {
    const { client, server } = await connected();
    await expect(client.reset({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ECANCELED" });
    await client.getInfo();
    expect(server.requests.map(({ command }) => command)).toEqual(["VERSION", "DEVICE_GET_INFO"]);
  });

  it("a server that goes away fails what is outstanding, and what comes later", async () => {
    const { client, server } = await connected({ DEVICE_RESET: () => undefined });
    const gone = new Promise<VfioError>((resolve) => client.once("disconnected", resolve));
    const arrived = server.next("DEVICE_RESET");
    const reset = client.reset();
    await arrived;
    server.close();
    await expect(reset).rejects.toMatchObject({ code: "ECONNRESET" });
    expect((await gone).code).toBe("ECONNRESET");
    expect(client.connected).toBe(false);
    await expect(client.getInfo()).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it("close fails what is outstanding", async () => {
    const { client, server } = await connected({ DEVICE_RESET: () => undefined });
    const reset = client.reset();
    client.close();
    client.close();
    await expect(reset).rejects.toMatchObject({ code: "ECANCELED" });
    await expect(client.reset()).rejects.toMatchObject({ code: "ENOTCONN" });
    expect((await server.ended).code).toBe("ECONNRESET");
  });
});

it("set irqs as it is", async () => {
  const { client, server } = await connected();
  await client.setIrqs({ flags: 0x21, index: IrqIndex.MSI, start: 0, count: 0, data: new Uint8Array() });
  expect(server.requests.at(-1)).toMatchObject({ payload: { argsz: 20, flags: 0x21, index: 1 } });
});

it("messages in any number of pieces", async () => {
  const { client, server } = await connected({ DEVICE_GET_INFO: () => undefined });
  for (const cut of [1, 2, 15, 16, 17, 31]) {
    const arrived = server.next("DEVICE_GET_INFO");
    const info = client.getInfo();
    const { msg_id } = await arrived;
    const bytes = encodeReply("DEVICE_GET_INFO", msg_id, {
      argsz: 16,
      flags: 1,
      num_regions: cut,
      num_irqs: 0,
    });
    server.raw(bytes.subarray(0, cut));
    // The rest leaves in a system call of its own.
    await new Promise(setImmediate);
    server.raw(bytes.subarray(cut));
    expect((await info).numRegions).toBe(cut);
  }
});
