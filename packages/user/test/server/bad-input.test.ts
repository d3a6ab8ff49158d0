import { IrqIndex } from "@vfiokit/core";
import { createEventFd, createMemfd } from "@vfiokit/user/linux";
import {
  Command,
  encodeMessage,
  encodeRequest,
  Feature,
  FeatureFlags,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  IrqSetFlags,
  Type,
  type CommandName,
  type RequestPayload,
} from "@vfiokit/user/wire";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { kernelResources, ownResources } from "../linux/support.js";
import { BAR_REGISTERS, Fixture, VALUE } from "./support.js";

/*
 * Whatever a client sends, the server answers with an error or ends that connection, keeps nothing of it, and goes
 * on. Every test ends with a check of all three.
 */

const EEXIST = 17;
const EINVAL = 22;
const EPROTO = 71;
const ENOENT = 2;
const EMSGSIZE = 90;
const PAGE = 0x1000n;

let before: ReturnType<typeof ownResources>;
let kernelBefore: ReturnType<typeof kernelResources>;
let fixture: Fixture;

async function open(negotiated: boolean, options = {}): Promise<void> {
  before = ownResources();
  kernelBefore = kernelResources();
  fixture = await Fixture.open({ negotiated, ...options });
}
afterEach(async () => {
  await fixture.close();
  expect(ownResources()).toEqual(before);
  const { fds, maps } = kernelResources();
  expect({ fds: fds.length, maps }).toEqual({ fds: kernelBefore.fds.length, maps: kernelBefore.maps });
  expect(fixture.log.filter((line) => line.startsWith("error"))).toEqual([]);
});

/** The connection still works. */
async function expectAlive(): Promise<void> {
  await fixture.client.write(BAR_REGISTERS, VALUE, 0x1234);
  expect(await fixture.client.read(BAR_REGISTERS, VALUE, 4)).toBe(0x1234);
}

/** The server has closed the connection. */
async function expectClosed(): Promise<void> {
  expect(await fixture.client.nextOrEnd()).toBeUndefined();
  await fixture.server.ended;
}

interface Raw {
  readonly id?: number;
  readonly cmd?: number;
  readonly size?: number;
  readonly flags?: number;
  readonly payload?: Uint8Array | readonly number[];
}
function raw({ id = 7, cmd = Command.VERSION, size, flags = 0, payload = [] }: Raw): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  Header.write(
    { msg_id: id, cmd, msg_size: size ?? bytes.length, flags, error_no: 0 },
    bytes.subarray(0, HEADER_SIZE),
  );
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

/** Sends, and expects the header-only error reply to it. */
async function expectError(bytes: Uint8Array, errno: number, fds: readonly number[] = []): Promise<void> {
  const { msg_id, cmd } = Header.decode(bytes);
  const reply = await fixture.client.exchange(bytes, fds);
  expect(reply).toMatchObject({ id: msg_id, cmd, errno, flags: Type.REPLY | HeaderFlags.ERROR });
  expect(reply.bytes.length).toBe(HEADER_SIZE);
  expect(reply.fds).toEqual([]);
}

/** A request as it is, whatever rules it breaks. */
function unchecked(command: CommandName, fields: readonly (readonly [bytes: number, value: bigint])[]) {
  const payload = new Uint8Array(fields.reduce((sum, [width]) => sum + width, 0));
  const view = new DataView(payload.buffer);
  let at = 0;
  for (const [width, value] of fields) {
    for (let i = 0; i < width; i++) view.setUint8(at + i, Number((value >> BigInt(8 * i)) & 0xffn));
    at += width;
  }
  return raw({ cmd: Command[command], payload });
}
const request = <C extends CommandName>(command: C, payload: RequestPayload<C>): Uint8Array =>
  encodeRequest(command, 7, payload);

describe("before a version is agreed on", () => {
  beforeEach(() => open(false));

  it("a first message that is not VERSION: EINVAL, closed", async () => {
    const info = { argsz: 16, flags: 0, num_regions: 0, num_irqs: 0 };
    await expectError(request("DEVICE_GET_INFO", info), EINVAL);
    await expectClosed();
  });

  it("a VERSION that claims to be a reply: EINVAL, closed", async () => {
    await expectError(raw({ flags: Type.REPLY, payload: [0, 0, 1, 0] }), EINVAL);
    await expectClosed();
  });

  it("another major version: EINVAL, closed", async () => {
    await expectError(raw({ payload: [1, 0, 0, 0] }), EINVAL);
    await expectClosed();
  });

  it.each([
    ["malformed", "{\0"],
    ["no object", '"23"\0'],
    ["unterminated", '{"capabilities":{}}'],
    ["a capability of another type", '{"capabilities":{"max_msg_fds":"8"}}\0'],
    ["a negative limit", '{"capabilities":{"max_data_xfer_size":-1}}\0'],
    ["nested without end", "[".repeat(4000) + "\0"],
    ["no UTF-8", "{\xff}\0"],
  ])("JSON that is %s: EINVAL, closed", async (_what, text) => {
    await expectError(raw({ payload: [0, 0, 1, 0, ...Buffer.from(text, "latin1")] }), EINVAL);
    await expectClosed();
  });

  it("a VERSION too short for a version: EINVAL, closed", async () => {
    await expectError(raw({ payload: [0, 0, 1] }), EINVAL);
    await expectClosed();
    const logged = fixture.log.find((line) => line.startsWith("debug: VERSION: "));
    expect(logged).toContain("\nVERSION request 7, 19 bytes\n");
    expect(logged).toContain("  payload 00 00 01");
  });

  it("no JSON, or capabilities that nobody knows: fine", async () => {
    const reply = await fixture.client.exchange(raw({ payload: [0, 0, 1, 0] }));
    expect(reply.flags).toBe(Type.REPLY);
    await expectAlive();
    await fixture.close();
    await open(false);
    await fixture.client.negotiate({ max_msg_fds: 8, colour: { of: ["the", "shed"] } });
    await expectAlive();
  });

  it("descriptors on VERSION: closed, and the version agreed on", async () => {
    using fd = createMemfd("stray", 4096);
    const reply = await fixture.client.exchange(raw({ payload: [0, 0, 1, 0] }), [fd.number, fd.number]);
    expect(reply.flags).toBe(Type.REPLY);
    await expectAlive();
  });

  it("more than 4 KiB before a version is agreed on: EMSGSIZE, closed, before they have come", async () => {
    // The header alone has come.
    await expectError(raw({ size: 4097 }), EMSGSIZE);
    await expectClosed();
    await fixture.close();
    await open(false);
    const padded = Buffer.from(`{"capabilities":{"x":"${"y".repeat(4096 - 16 - 4 - 26)}"}}\0`);
    const reply = await fixture.client.exchange(raw({ payload: [0, 0, 1, 0, ...padded] }));
    expect(reply.flags).toBe(Type.REPLY);
    await expectAlive();
  });

  it("nothing at all, without going: closed after versionTimeout", async () => {
    await fixture.close();
    await open(false, { versionTimeout: 50 });
    await expectClosed();
    expect(fixture.log.join()).toContain("no VERSION within 50 ms");
  });

  it("nothing at all, then gone", async () => {
    fixture.client.close();
    await fixture.server.ended;
  });
});

describe("the stream of messages", () => {
  beforeEach(() => open(true));

  it("a second VERSION: EINVAL", async () => {
    await expectError(raw({ payload: [0, 0, 1, 0] }), EINVAL);
    await expectAlive();
  });

  it.each([0, 15])("a size of %i: EINVAL, closed, since what follows cannot be found", async (size) => {
    await expectError(raw({ cmd: Command.DEVICE_RESET, size }), EINVAL);
    await expectClosed();
  });

  it("a size above the limit: EMSGSIZE, closed, without waiting for the rest", async () => {
    await expectError(raw({ cmd: Command.REGION_WRITE, size: HEADER_SIZE + 16 + 1024 * 1024 + 1 }), EMSGSIZE);
    await expectClosed();
  });

  it("a header alone, then silence, then gone", async () => {
    await fixture.client.send(raw({ cmd: Command.REGION_READ, size: 32 }));
    await new Promise(setImmediate);
    expect(fixture.server.connected).toBe(true);
    fixture.client.close();
    await fixture.server.ended;
  });

  it("half a header, half a body: nothing of it is carried out", async () => {
    const data = Uint8Array.of(1, 2, 3, 4);
    const write = request("REGION_WRITE", { region: 0, offset: 0n, count: 4, data });
    await fixture.client.send(write.subarray(0, 34));
    fixture.client.close();
    await fixture.server.ended;
    expect(fixture.fn.writes).toEqual([]);
  });

  it("a message in any number of pieces: carried out when it is whole", async () => {
    const data = Uint8Array.of(1, 2, 3, 4);
    const write = request("REGION_WRITE", { region: 0, offset: 0n, count: 4, data });
    for (const byte of write) {
      expect(fixture.fn.writes).toEqual([]);
      await fixture.client.send(Uint8Array.of(byte));
      await new Promise(setImmediate);
    }
    expect((await fixture.client.next()).flags).toBe(Type.REPLY);
    expect(fixture.fn.writes).toEqual(["0=4030201/4"]);
  });

  it.each([0, 14, 19, 999, 0xffff])("command %i: EINVAL", async (cmd) => {
    await expectError(raw({ cmd, payload: [1] }), EINVAL);
    await expectAlive();
  });

  it.each(["DMA_READ", "DMA_WRITE"] as const)("%s, which only servers send: EINVAL", async (name) => {
    await expectError(raw({ cmd: Command[name], payload: new Uint8Array(16) }), EINVAL);
    await expectAlive();
  });

  it("a reply to nothing: ignored", async () => {
    await fixture.client.send(raw({ cmd: Command.DMA_READ, flags: Type.REPLY, payload: new Uint8Array(16) }));
    await fixture.client.send(raw({ cmd: Command.DEVICE_RESET, flags: Type.REPLY }));
    await expectAlive();
    expect(fixture.fn.resets).toBe(0);
  });

  it("a message type that does not exist: EINVAL", async () => {
    await expectError(raw({ cmd: Command.DEVICE_RESET, flags: 2 }), EINVAL);
    expect(fixture.fn.resets).toBe(0);
    await expectAlive();
  });

  it("an error in a command that wants no reply: no reply", async () => {
    await fixture.client.send(raw({ cmd: 999, flags: HeaderFlags.NO_REPLY }));
    await expectAlive();
  });

  const withPayload = Object.keys(Command).filter((name) => name !== "VERSION" && name !== "DEVICE_RESET");
  it.each(withPayload)("%s without a payload: EINVAL", async (name) => {
    await expectError(raw({ cmd: Command[name as CommandName] }), EINVAL);
    await expectAlive();
  });
});

describe("fields", () => {
  beforeEach(() => open(true));

  const regionInfo = (argsz: number, index: number) =>
    request("DEVICE_GET_REGION_INFO", {
      argsz: 32,
      flags: 0,
      index,
      cap_offset: 0,
      size: 0n,
      offset: 0n,
    }).map((byte, at) => (at >= 16 && at < 20 ? (argsz >>> (8 * (at - 16))) & 0xff : byte));

  it("argsz too small: EINVAL", async () => {
    await expectError(regionInfo(31, 0), EINVAL);
    await expectError(
      unchecked("DEVICE_GET_INFO", [
        [4, 15n],
        [4, 0n],
        [8, 0n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("DEVICE_GET_IRQ_INFO", [
        [4, 0n],
        [4, 0n],
        [8, 0n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("DMA_MAP", [
        [4, 31n],
        [4, 3n],
        [8, 0n],
        [8, 0n],
        [8, PAGE],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("MIG_DATA_READ", [
        [4, 107n],
        [4, 100n],
      ]),
      EINVAL,
    );
    await expectAlive();
  });

  it("indices out of range: EINVAL, and ENOTTY for a feature", async () => {
    for (const index of [9, 0x7fff_ffff, 0xffff_ffff]) {
      await expectError(regionInfo(256, index), EINVAL);
      await expectError(request("DEVICE_GET_IRQ_INFO", { argsz: 16, flags: 0, index, count: 0 }), EINVAL);
      await expectError(request("REGION_READ", { region: index, offset: 0n, count: 4 }), EINVAL);
      const irqs = { argsz: 20, flags: IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER, start: 0 };
      await expectError(
        request("DEVICE_SET_IRQS", { ...irqs, index, count: 1, data: new Uint8Array() }),
        EINVAL,
      );
    }
    const probe = { argsz: 8, flags: 0xfffe | FeatureFlags.PROBE, data: new Uint8Array() };
    await expectError(request("DEVICE_FEATURE", probe), 25);
    await expectAlive();
  });

  it.each([
    ["at the end", 0x40n],
    ["just before the end", 0x3dn],
    ["at 2^32", 1n << 32n],
    ["at 2^53", 1n << 53n],
    ["at the end of 64 bits", (1n << 64n) - 1n],
  ])("an access of 4 bytes %s of a region of 64: EINVAL", async (_where, offset) => {
    await expectError(
      unchecked("REGION_READ", [
        [8, offset],
        [4, 0n],
        [4, 4n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("REGION_WRITE", [
        [8, offset],
        [4, 0n],
        [4, 4n],
        [4, 1n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("REGION_WRITE_MULTI", [
        [8, 1n],
        [8, offset],
        [4, 0n],
        [4, 4n],
        [8, 1n],
      ]),
      EINVAL,
    );
    expect(fixture.fn.writes).toEqual([]);
    await expectAlive();
  });

  it("a count above max_data_xfer_size: EINVAL", async () => {
    await fixture.close();
    await open(true, { maxDataXferSize: 0x1000 });
    await expectError(request("REGION_READ", { region: 2, offset: 0n, count: 0x1001 }), EINVAL);
    await expectError(request("MIG_DATA_READ", { argsz: 0x1009, size: 0x1001 }), EINVAL);
    await expectError(request("REGION_READ", { region: 2, offset: 0n, count: 0xffff_ffff }), EINVAL);
    await expectAlive();
  });

  it("a count that the message does not hold: EINVAL", async () => {
    await expectError(
      unchecked("REGION_WRITE", [
        [8, 0n],
        [4, 0n],
        [4, 8n],
        [4, 1n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("REGION_WRITE", [
        [8, 0n],
        [4, 0n],
        [4, 2n],
        [4, 1n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("REGION_WRITE_MULTI", [
        [8, (1n << 64n) - 1n],
        [8, 0n],
      ]),
      EINVAL,
    );
    await expectError(
      unchecked("MIG_DATA_WRITE", [
        [4, 16n],
        [4, 9n],
        [8, 0n],
      ]),
      EINVAL,
    );
    const ranges = [
      [8, 4096n],
      [4, 0xffff_ffffn],
      [4, 0n],
    ] as const;
    const flags = BigInt(Feature.DMA_LOGGING_START | FeatureFlags.SET);
    await expectError(unchecked("DEVICE_FEATURE", [[4, 64n], [4, flags], ...ranges]), EINVAL);
    expect(fixture.fn.writes).toEqual([]);
    await expectAlive();
  });

  it("SET_IRQS with flags that make no sense: EINVAL", async () => {
    const both = IrqSetFlags.DATA_NONE | IrqSetFlags.DATA_BOOL | IrqSetFlags.ACTION_TRIGGER;
    for (const flags of [0, both, IrqSetFlags.DATA_NONE, IrqSetFlags.ACTION_TRIGGER, 1 << 31])
      await expectError(
        unchecked("DEVICE_SET_IRQS", [
          [4, 20n],
          [4, BigInt(flags >>> 0)],
          [4, 0n],
          [4, 0n],
          [4, 1n],
        ]),
        EINVAL,
      );
    await expectAlive();
  });
});

describe("descriptors", () => {
  beforeEach(() => open(true));
  const dmaMap = { argsz: 32, flags: 3, offset: 0n, address: 0n, size: PAGE };
  const msix = { argsz: 20, flags: IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER };

  it("where none belong: closed, and the command carried out", async () => {
    using fd = createMemfd("stray", 4096);
    const held = ownResources();
    for (let i = 0; i < 20; i++) {
      const read = request("REGION_READ", { region: 0, offset: 0n, count: 4 });
      const reply = await fixture.client.exchange(read, [fd.number, fd.number]);
      expect(reply.flags).toBe(Type.REPLY);
      await fixture.client.exchange(raw({ cmd: Command.DEVICE_RESET }), [fd.number]);
    }
    expect(ownResources()).toEqual(held);
    await expectAlive();
  });

  it("with an unknown command, with a reply to nothing, with a bad command: closed", async () => {
    using fd = createMemfd("stray", 4096);
    const held = ownResources();
    await expectError(raw({ cmd: 999 }), EINVAL, [fd.number]);
    await fixture.client.send(raw({ cmd: Command.DMA_READ, flags: Type.REPLY }), [fd.number]);
    await expectError(raw({ cmd: Command.DMA_MAP, payload: [1, 2, 3] }), EINVAL, [fd.number]);
    await expectAlive();
    expect(ownResources()).toEqual(held);
  });

  it("more than max_msg_fds: EINVAL, all closed", async () => {
    using fd = createEventFd();
    const held = ownResources();
    const set = request("DEVICE_SET_IRQS", {
      ...msix,
      index: IrqIndex.MSIX,
      start: 0,
      count: 4,
      data: new Uint8Array(),
    });
    await expectError(set, EINVAL, Array<number>(9).fill(fd.number));
    await expectError(set, EINVAL, Array<number>(253).fill(fd.number));
    expect(ownResources()).toEqual(held);
    await expectAlive();
  });

  it("more or fewer than count: EINVAL, all closed", async () => {
    using fd = createEventFd();
    const held = ownResources();
    for (const fds of [1, 2, 4, 5]) {
      const set = request("DEVICE_SET_IRQS", {
        ...msix,
        index: IrqIndex.MSIX,
        start: 0,
        count: 3,
        data: new Uint8Array(),
      });
      await expectError(set, EINVAL, Array<number>(fds).fill(fd.number));
    }
    expect(ownResources()).toEqual(held);
  });

  it("on single bytes of a message, as many as it may have: taken, and closed after it", async () => {
    using fd = createEventFd();
    const held = ownResources();
    const read = request("REGION_READ", { region: 0, offset: 0n, count: 4 });
    for (const [at, byte] of read.entries())
      await fixture.client.send(Uint8Array.of(byte), at < 2 ? Array<number>(8).fill(fd.number) : []);
    expect((await fixture.client.next()).flags).toBe(Type.REPLY);
    expect(ownResources()).toEqual(held);
    await expectAlive();
  });

  it("more than it may have, on single bytes: the connection ends at once, all closed", async () => {
    using fd = createEventFd();
    const read = request("REGION_READ", { region: 0, offset: 0n, count: 4 });
    for (const byte of read.subarray(0, 3))
      await fixture.client.send(Uint8Array.of(byte), Array<number>(8).fill(fd.number));
    expect((await fixture.client.next()).errno).toBe(EPROTO);
    await fixture.server.ended;
  });

  it("of a half message when the client goes: closed", async () => {
    using fd = createEventFd();
    await fixture.client.send(raw({ cmd: Command.DMA_MAP, size: 48 }), [fd.number]);
    fixture.client.close();
    await fixture.server.ended;
  });

  it("a DMA file shorter than its map, or no file at all: EINVAL", async () => {
    using short = createMemfd("short", 4095);
    using event = createEventFd();
    await expectError(request("DMA_MAP", dmaMap), EINVAL, [short.number]);
    await expectError(request("DMA_MAP", dmaMap), EINVAL, [event.number]);
    await expectError(request("DMA_MAP", { ...dmaMap, size: 1n << 62n }), EINVAL, [short.number]);
    await expectError(request("DMA_MAP", { ...dmaMap, offset: 1n << 62n }), EINVAL, [short.number]);
    await expectAlive();
  });

  it("overlapping maps: EEXIST; zero, unaligned and wrapping ones: EINVAL", async () => {
    using fd = createMemfd("guest", 0x10000);
    const fds = [fd.number];
    await fixture.client.call("DMA_MAP", { ...dmaMap, address: 0x4000n, size: 0x4000n }, fds);
    for (const [address, size] of [
      [0x4000n, 0x4000n],
      [0x4000n, PAGE],
      [0x3000n, 0x2000n],
      [0x7000n, 0x2000n],
      [0n, 0x10000n],
    ] as const)
      await expectError(request("DMA_MAP", { ...dmaMap, address, size }), EEXIST, fds);
    const wrapping = [
      [4, 32n],
      [4, 3n],
      [8, 0n],
      [8, (1n << 64n) - PAGE],
      [8, 2n * PAGE],
    ] as const;
    await expectError(
      unchecked(
        "DMA_MAP",
        wrapping.map(([w, v]) => [w, v]),
      ),
      EINVAL,
      fds,
    );
    await expectError(
      unchecked("DMA_MAP", [
        [4, 32n],
        [4, 3n],
        [8, 0n],
        [8, 0n],
        [8, 0n],
      ]),
      EINVAL,
      fds,
    );
    await expectError(request("DMA_MAP", { ...dmaMap, size: 100n }), EINVAL, fds);
    await expectError(request("DMA_MAP", { ...dmaMap, address: 1n }), EINVAL, fds);
    await expectError(request("DMA_MAP", { ...dmaMap, offset: 1n }), EINVAL, fds);
    await expectError(request("DMA_MAP", { ...dmaMap, flags: 0 }), EINVAL, fds);
    await expectError(request("DMA_UNMAP", { argsz: 24, flags: 0, address: 0n, size: PAGE }), ENOENT);
    const unaligned = { argsz: 24, flags: 0, address: 0x4001n, size: PAGE };
    await expectError(request("DMA_UNMAP", unaligned), EINVAL);
    await expectAlive();
  });
});

describe("a client that sends and never reads", () => {
  beforeEach(() => open(true));

  it("is stopped by back-pressure, and gets every reply in order once it reads", async () => {
    const { client } = fixture;
    client.setReading(false);
    const count = 20_000;
    const one = (id: number) =>
      encodeMessage({
        kind: "request",
        command: "REGION_READ",
        msg_id: id,
        no_reply: false,
        payload: { region: 0, offset: 0n, count: 16 },
      });
    const chunk = 1000;
    const sending = (async () => {
      for (let id = 0; id < count; id += chunk)
        await client.send(Buffer.concat(Array.from({ length: chunk }, (_, i) => one(id + i))));
    })();
    for (let i = 0; i < 200; i++) await new Promise(setImmediate);
    client.setReading(true);
    for (let id = 0; id < count; id++) {
      const reply = await client.next();
      if (reply.id !== id) expect(reply.id).toBe(id);
    }
    await sending;
    await expectAlive();
  });
});
