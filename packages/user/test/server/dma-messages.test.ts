import {
  Command,
  decodeMessage,
  encodeError,
  encodeReply,
  encodeRequest,
  type Capabilities,
} from "@vfiokit/user/wire";
import { afterEach, describe, expect, it } from "vitest";
import { ownResources } from "../linux/support.js";
import { BAR_REGISTERS, Fixture, RawClient } from "./support.js";

const PAGE = 0x1000;

let before: ReturnType<typeof ownResources>;
let fixture: Fixture;
let twin: RawClient | undefined;
/** Where our DMA messages arrive. */
let channel: RawClient;
/** The client's memory. */
let guest: Uint8Array;

async function open(mode: "main" | "twin", capabilities: Capabilities = {}, options = {}): Promise<void> {
  before = ownResources();
  fixture = await Fixture.open({ negotiated: false, ...options });
  const twinSocket = mode === "twin" ? { twin_socket: { supported: true } } : {};
  const { payload, fds } = await fixture.client.negotiate({ max_msg_fds: 8, ...capabilities, ...twinSocket });
  twin = undefined;
  if (mode === "twin") {
    expect(payload.data?.capabilities?.twin_socket).toEqual({ supported: true, fd_index: 0 });
    twin = new RawClient(fds[0]!);
  }
  channel = twin ?? fixture.client;
  guest = Uint8Array.from({ length: 4 * PAGE }, (_, i) => i * 3);
  const map = { argsz: 32, flags: 3, offset: 0n, address: 0n, size: BigInt(guest.length) };
  await fixture.client.call("DMA_MAP", map);
}
afterEach(async () => {
  twin?.close();
  await fixture.close();
  expect(ownResources()).toEqual(before);
});

/** Takes the next DMA message, and answers it unless told otherwise. */
async function serveOne(
  answer = true,
): Promise<{ id: number; command: string; address: number; count: number }> {
  const bytes = await channel.next();
  const message = decodeMessage(bytes.bytes) as {
    command: "DMA_READ" | "DMA_WRITE";
    payload: { address: bigint; count: bigint; data: Uint8Array };
  };
  const { command, payload } = message;
  const address = Number(payload.address);
  const count = Number(payload.count);
  if (command === "DMA_WRITE") guest.set(payload.data, address);
  if (answer) await channel.send(replyTo(bytes.id, command, address, count));
  return { id: bytes.id, command, address, count };
}

function replyTo(id: number, command: "DMA_READ" | "DMA_WRITE", address: number, count: number): Uint8Array {
  const range = { address: BigInt(address), count: BigInt(count) };
  if (command === "DMA_WRITE") return encodeReply("DMA_WRITE", id, { written: range });
  return encodeReply("DMA_READ", id, { ...range, data: guest.slice(address, address + count) });
}

const readRegister = (id: number) =>
  encodeRequest("REGION_READ", id, { region: BAR_REGISTERS, offset: 0n, count: 4 });

describe.each(["main", "twin"] as const)("DMA by messages over the %s socket", (mode) => {
  it("reads and writes the client's memory", async () => {
    await open(mode);
    const { dma } = fixture.fn.host;
    const into = new Uint8Array(8);
    const reading = dma.read(100, into);
    expect(await serveOne()).toMatchObject({ command: "DMA_READ", address: 100, count: 8 });
    await reading;
    expect([...into]).toEqual([...guest.subarray(100, 108)]);
    const writing = dma.write(200, Uint8Array.of(1, 2, 3));
    expect(await serveOne()).toMatchObject({ command: "DMA_WRITE", address: 200, count: 3 });
    await writing;
    expect([...guest.subarray(200, 203)]).toEqual([1, 2, 3]);
  });

  it("cuts accesses to the client's max_data_xfer_size", async () => {
    await open(mode, { max_data_xfer_size: 1000 });
    const into = new Uint8Array(2500);
    const reading = fixture.fn.host.dma.read(10, into);
    const served = [await serveOne(), await serveOne(), await serveOne()];
    await reading;
    expect(served.map(({ address, count }) => [address, count])).toEqual([
      [10, 1000],
      [1010, 1000],
      [2010, 500],
    ]);
    expect(Buffer.compare(into, guest.subarray(10, 2510))).toBe(0);
  });

  it("serves the client's commands in the middle of a DMA read", async () => {
    await open(mode);
    const into = new Uint8Array(4);
    const reading = fixture.fn.host.dma.read(0, into);
    const { id } = await serveOne(false);
    for (let i = 0; i < 3; i++) {
      const reply = await fixture.client.exchange(readRegister(0x100 + i));
      expect(reply).toMatchObject({ id: 0x100 + i, cmd: Command.REGION_READ });
    }
    await channel.send(replyTo(id, "DMA_READ", 0, 4));
    await reading;
    expect([...into]).toEqual([...guest.subarray(0, 4)]);
  });

  it("takes a reply from behind commands of the client that wait for that very read", async () => {
    await open(mode);
    const { fn, client } = fixture;
    // A reset that has to read memory first: what is behind it must not be in its way.
    const into = new Uint8Array(4);
    fn.resetGate = undefined;
    const original = fn.reset.bind(fn);
    fn.reset = () => Promise.resolve(fn.host.dma.read(0, into)).then(original);
    await client.send(Buffer.concat([encodeRequest("DEVICE_RESET", 1, {}), readRegister(2)]));
    const { id } = await serveOne(false);
    await client.send(readRegister(3));
    await channel.send(replyTo(id, "DMA_READ", 0, 4));
    await client.send(readRegister(4));
    for (const expected of [1, 2, 3, 4]) expect((await client.next()).id).toBe(expected);
    expect([...into]).toEqual([...guest.subarray(0, 4)]);
  });

  it("matches replies in any order", async () => {
    await open(mode);
    const buffers = [new Uint8Array(4), new Uint8Array(4), new Uint8Array(4)];
    const reading = Promise.all(buffers.map(async (into, i) => fixture.fn.host.dma.read(i * 64, into)));
    const served = [await serveOne(false), await serveOne(false), await serveOne(false)];
    for (const { id, address, count } of served.reverse())
      await channel.send(replyTo(id, "DMA_READ", address, count));
    await reading;
    buffers.forEach((into, i) => expect([...into]).toEqual([...guest.subarray(i * 64, i * 64 + 4)]));
  });

  it("passes the client's refusal on to the device", async () => {
    await open(mode);
    const reading = expect(fixture.fn.host.dma.read(0, new Uint8Array(4))).rejects.toThrow(
      "EIO: DMA_READ: the client answered EFAULT",
    );
    const { id } = await serveOne(false);
    await channel.send(encodeError(Command.DMA_READ, id, 14));
    await reading;
  });

  it.each([
    ["of another length", (id: number) => replyTo(id, "DMA_READ", 0, 3)],
    ["cut short", (id: number) => replyTo(id, "DMA_READ", 0, 4).map((b, i) => (i === 24 ? 200 : b))],
  ])("fails on a reply that is %s", async (_what, bad) => {
    await open(mode);
    const reading = expect(fixture.fn.host.dma.read(0, new Uint8Array(4))).rejects.toThrow("EPROTO");
    const { id } = await serveOne(false);
    await channel.send(bad(id));
    await reading;
  });

  it("gives up on a client that does not answer, and ignores its late reply", async () => {
    await open(mode, {}, { dmaTimeout: 20 });
    const reading = expect(fixture.fn.host.dma.read(0, new Uint8Array(4))).rejects.toThrow("ETIMEDOUT");
    const { id } = await serveOne(false);
    await reading;
    await channel.send(replyTo(id, "DMA_READ", 0, 4));
    await fixture.client.read(BAR_REGISTERS, 0, 4);
  });

  it("fails at once when the client goes, and the device is released", async () => {
    await open(mode);
    const reading = expect(fixture.fn.host.dma.read(0, new Uint8Array(4))).rejects.toThrow("ENOTCONN");
    await serveOne(false);
    fixture.client.close();
    await reading;
    await fixture.server.ended;
    expect(fixture.device.dma.mapCount).toBe(0);
  });

  it("lets an unmap wait for the access that is under way", async () => {
    await open(mode);
    const into = new Uint8Array(4);
    const reading = fixture.fn.host.dma.read(0, into);
    const { id } = await serveOne(false);
    const unmap = encodeRequest("DMA_UNMAP", 9, {
      argsz: 24,
      flags: 0,
      address: 0n,
      size: BigInt(guest.length),
    });
    await fixture.client.send(unmap);
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    expect(fixture.device.dma.mapCount).toBe(1);
    await channel.send(replyTo(id, "DMA_READ", 0, 4));
    await reading;
    expect((await fixture.client.next()).id).toBe(9);
    expect(fixture.device.dma.mapCount).toBe(0);
  });
});

describe("the twin socket", () => {
  it("is not set up unless it is proposed, or when the server does not want it", async () => {
    await open("main");
    await fixture.close();
    fixture = await Fixture.open({ negotiated: false, twinSocket: false });
    const { payload, fds } = await fixture.client.negotiate({ twin_socket: { supported: true } });
    expect(payload.data?.capabilities?.twin_socket).toBeUndefined();
    expect(fds).toEqual([]);
  });

  it("ends the connection when the client closes it", async () => {
    await open("twin");
    twin!.close();
    await fixture.server.ended;
  });

  it("ends the connection when nonsense arrives", async () => {
    await open("twin");
    await twin!.send(new Uint8Array(16));
    await fixture.server.ended;
  });
});

describe("the version reply", () => {
  it("names our limits, and of the options only what was proposed", async () => {
    await open("main");
    await fixture.close();
    fixture = await Fixture.open({ negotiated: false, maxMsgFds: 12, maxDataXferSize: 65536 });
    const { payload } = await fixture.client.negotiate({ write_multiple: true });
    expect(payload).toEqual({
      major: 0,
      minor: 1,
      data: {
        capabilities: {
          max_msg_fds: 12,
          max_data_xfer_size: 65536,
          max_dma_maps: 65535,
          pgsizes: 4096,
          write_multiple: true,
        },
      },
    });
  });

  it("has the lesser minor version", async () => {
    await open("main");
    await fixture.close();
    fixture = await Fixture.open({ negotiated: false });
    const { payload } = await fixture.client.call("VERSION", { major: 0, minor: 0, data: undefined });
    expect(payload.minor).toBe(0);
    await fixture.close();
    fixture = await Fixture.open({ negotiated: false });
    const newer = await fixture.client.call("VERSION", { major: 0, minor: 900, data: undefined });
    expect(newer.payload.minor).toBe(1);
  });
});
