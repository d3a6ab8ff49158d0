import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import {
  createEventFd,
  createMemfd,
  openFds,
  openMappings,
  socketPair,
  SyscallError,
  type Fd,
} from "@vfiokit/user/linux";
import {
  encodeError,
  encodeMessage,
  encodeReply,
  Header,
  HeaderFlags,
  Type,
  type Message,
} from "@vfiokit/user/wire";
import { VfioUserClient } from "../../src/client/index.js";
import { Channel } from "../../src/socket/index.js";
import { message, payloads } from "../wire/arbitrary.js";
import { connected, LIMITS } from "./fake-server.js";

/** What a hostile server sends when it gets a command, instead of the reply. */
type Move =
  | {
      readonly kind: "reply";
      readonly payload: object;
      readonly changes: readonly (readonly [number, number])[];
    }
  | { readonly kind: "other"; readonly message: Message }
  | { readonly kind: "error"; readonly errno: number }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "silence" };

interface Script {
  readonly moves: readonly Move[];
  readonly fds: readonly ("memfd" | "eventfd" | "socket")[][];
}

const change = fc.tuple(fc.nat(), fc.nat(255));
const replies = fc.oneof(...Object.values(payloads).map(([, reply]) => reply as fc.Arbitrary<object>));

const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("reply" as const),
      payload: replies,
      changes: fc.array(change, { maxLength: 3 }),
    }),
  },
  { weight: 2, arbitrary: message.map((one) => ({ kind: "other" as const, message: one })) },
  { weight: 1, arbitrary: fc.nat(300).map((errno) => ({ kind: "error" as const, errno })) },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 64 }).map((bytes) => ({ kind: "bytes" as const, bytes })),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "silence" as const }) },
);

const script: fc.Arbitrary<Script> = fc.record({
  moves: fc.array(move, { minLength: 1, maxLength: 30 }),
  fds: fc.array(fc.array(fc.constantFrom("memfd", "eventfd", "socket"), { maxLength: 3 }), {
    minLength: 1,
    maxLength: 4,
  }),
});

function open(kind: "memfd" | "eventfd" | "socket"): Fd {
  if (kind === "memfd") return createMemfd("hostile", 8192);
  if (kind === "eventfd") return createEventFd();
  const [one, other] = socketPair();
  other.close();
  return one;
}

/** The bytes of a move; a reply of another command than was asked is one way to be hostile. */
function bytesOf(one: Move, id: number, cmd: number): Uint8Array {
  switch (one.kind) {
    case "reply": {
      const bytes = encodePayload(one.payload, id, cmd);
      for (const [at, value] of one.changes) bytes[at % bytes.length] = value;
      return bytes;
    }
    case "other":
      return encodeMessage(one.message);
    case "error":
      return encodeError(cmd, id, one.errno);
    case "bytes":
      return one.bytes;
    case "silence":
      return new Uint8Array();
  }
}

function encodePayload(payload: object, id: number, cmd: number): Uint8Array {
  for (const command of Object.keys(payloads) as (keyof typeof payloads)[]) {
    try {
      const bytes = encodeReply(command, id, payload as never);
      new DataView(bytes.buffer).setUint16(Header.offset.cmd, cmd, true);
      return bytes;
    } catch {
      // Not this command's payload.
    }
  }
  return encodeError(cmd, id, 0);
}

/** Plays a script over a socket, after a proper negotiation or instead of one; then goes away. */
function play(fd: Fd, { moves, fds }: Script, negotiate: boolean): void {
  let turn = negotiate ? -1 : 0;
  const channel = new Channel(
    fd,
    {
      onMessage: (request, _view, received) => {
        for (const one of received) one.close();
        const { msg_id, cmd, flags } = Header.decode(request);
        if ((flags & 0xf) !== Type.COMMAND) return;
        const at = turn++;
        if (at < 0) {
          const bytes = encodeReply("VERSION", msg_id, {
            major: 0,
            minor: 1,
            data: { capabilities: LIMITS },
          });
          channel.send(bytes.length, (into) => into.set(bytes));
          return;
        }
        const sent = fds[at % fds.length]!.map(open);
        const bytes = bytesOf(moves[at % moves.length]!, msg_id, cmd);
        if (bytes.length) channel.send(bytes.length, (into) => into.set(bytes), sent);
        for (const one of sent) one.close();
        // After the last command there is nothing to wait for.
        if (at === moves.length - 1) channel.whenSent(() => channel.close());
        if (at === moves.length - 1 && !bytes.length) channel.close();
      },
      onEnd: () => undefined,
    },
    { name: "the peer", maxMessage: 1 << 21, maxFds: 253 },
  );
}

/** Everything a client can be asked to do, all at once. */
function useAll(client: VfioUserClient): Promise<unknown>[] {
  const { migration } = client;
  return [
    client.getInfo(),
    client.getRegionInfo(0),
    client.mapRegion(2),
    client.regionRead(0, 0, new Uint8Array(8)),
    client.regionWrite(0, 0, new Uint8Array(8)),
    client.regionWriteMulti([{ region: 0, offset: 0, data: new Uint8Array(4) }]),
    client.getRegionIoFds(0).then(({ fds }) => {
      for (const fd of fds) fd.close();
    }),
    client.getIrqInfo(2),
    client.irq(2).enable(3),
    client.dmaMap({ address: 0n, memory: client.shareMemory(4096) }),
    client.dmaUnmapAll(),
    migration.flags(),
    migration.state(),
    migration.dirtyPages({ iova: 0n, length: 4096n }, 4096n),
    migration.read(100),
    migration.write(new Uint8Array(100)),
    client.reset(),
  ];
}

function expectTyped(results: PromiseSettledResult<unknown>[]): void {
  for (const result of results) {
    if (result.status === "fulfilled") continue;
    const error: unknown = result.reason;
    if (error instanceof VfioError || error instanceof SyscallError) continue;
    throw error;
  }
}

describe("a hostile server", () => {
  it("whatever it answers, every command settles with a value or a typed error, and nothing leaks", async () => {
    const before = { fds: openFds(), mappings: openMappings() };
    await fc.assert(
      fc.asyncProperty(script, async (one) => {
        const [ours, theirs] = socketPair();
        play(theirs, one, true);
        // Scripts go away after some commands; those that are given later are refused.
        const client = await VfioUserClient.connect(ours, { timeoutMs: 500 });
        let results = await Promise.allSettled(useAll(client));
        expectTyped(results);
        results = await Promise.allSettled(useAll(client));
        expectTyped(results);
        client.close();
        await new Promise(setImmediate);
        await new Promise(setImmediate);
        expect({ fds: openFds(), mappings: openMappings() }).toEqual(before);
      }),
      { numRuns: 200, plugins: [fc.interruptAfterTimeLimit(15_000)] },
    );
  });

  it("whatever it negotiates", async () => {
    const before = openFds();
    await fc.assert(
      fc.asyncProperty(script, async (one) => {
        const [ours, theirs] = socketPair();
        play(theirs, { ...one, moves: one.moves.slice(0, 1) }, false);
        try {
          (await VfioUserClient.connect(ours, { timeoutMs: 500 })).close();
        } catch (error) {
          expect(error).toBeInstanceOf(VfioError);
        }
        await new Promise(setImmediate);
        await new Promise(setImmediate);
        expect(openFds()).toBe(before);
      }),
      { numRuns: 200 },
    );
  });
});

describe("what ends a connection", () => {
  const header = (fields: Partial<Record<"msg_id" | "cmd" | "msg_size" | "flags", number>>): Uint8Array =>
    Header.encode({ msg_id: 999, cmd: 13, msg_size: 16, flags: Type.REPLY, error_no: 0, ...fields });

  it.each([
    ["a reply that nobody asked for", header({}), "EPROTO"],
    ["an error reply that nobody asked for", header({ flags: Type.REPLY | HeaderFlags.ERROR }), "EPROTO"],
    ["a type that does not exist", header({ flags: 7 }), "EPROTO"],
    ["a size below the header's", header({ msg_size: 15 }), "EINVAL"],
    ["a size beyond the limit", header({ msg_size: 0xffff_ffff }), "EMSGSIZE"],
  ])("%s", async (_what, bytes, code) => {
    const { client, server } = await connected({ DEVICE_RESET: () => undefined });
    const reset = client.reset();
    server.raw(bytes);
    await expect(reset).rejects.toMatchObject({ code });
    expect((await server.ended).code).toBe("ECONNRESET");
    expect(client.connected).toBe(false);
  });

  it("a reply to another command than was sent", async () => {
    const { client, server } = await connected({
      DEVICE_RESET: (_payload, self, { msg_id }) => {
        self.raw(encodeReply("DMA_MAP", msg_id, {}));
        return undefined;
      },
    });
    await expect(client.reset()).rejects.toMatchObject({ code: "EPROTO" });
    await server.ended;
  });

  it("more descriptors than max_msg_fds", async () => {
    const { client, server } = await connected({}, { maxMsgFds: 2 });
    const fds = [createEventFd(), createEventFd(), createEventFd()];
    server.replyFds = fds;
    await expect(client.reset()).rejects.toMatchObject({ code: "EPROTO" });
    for (const fd of fds) fd.close();
    await server.ended;
    server.close();
    expect(openFds()).toBe(0);
  });
});

describe("what does not end a connection", () => {
  it("a malformed reply fails its command alone", async () => {
    const { client } = await connected({
      DEVICE_GET_INFO: (_payload, server, { msg_id }) => {
        const bytes = encodeReply("DEVICE_GET_INFO", msg_id, {
          argsz: 16,
          flags: 0,
          num_regions: 0,
          num_irqs: 0,
        });
        const short = bytes.subarray(0, 20);
        new DataView(bytes.buffer).setUint32(Header.offset.msg_size, 20, true);
        server.raw(short);
        return undefined;
      },
      REGION_READ: ({ offset, region, count }) => ({
        offset,
        region,
        count: count + 1,
        data: new Uint8Array(count + 1),
      }),
      REGION_WRITE: ({ offset, region, count }) => ({ offset, region, count: count + 1 }),
      DEVICE_GET_IRQ_INFO: () => ({ argsz: 16, flags: 0, index: 0, count: 4 }),
    });
    await expect(client.getInfo()).rejects.toMatchObject({ code: "EPROTO" });
    const buffer = new Uint8Array(8);
    await expect(client.regionRead(0, 0, buffer.subarray(0, 4))).rejects.toMatchObject({ code: "EPROTO" });
    expect([...buffer]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    await expect(client.regionWrite(0, 0, buffer)).rejects.toMatchObject({ code: "EPROTO" });
    expect(await client.getIrqInfo(0)).toMatchObject({ count: 4 });
  });

  it("numbers that a client would drown in", async () => {
    const { client } = await connected({
      DEVICE_GET_INFO: () => ({ argsz: 16, flags: 0, num_regions: 0xffff_ffff, num_irqs: 5 }),
      DEVICE_GET_REGION_INFO: ({ index }) => ({
        argsz: 0xffff_ffff,
        flags: 0,
        index,
        cap_offset: 0,
        size: 0n,
        offset: 0n,
        capabilities: [],
      }),
    });
    await expect(client.getInfo()).rejects.toMatchObject({ code: "EPROTO" });
    await expect(client.getRegionInfo(0)).rejects.toMatchObject({ code: "EPROTO" });
  });

  it("descriptors that nobody asked for are closed", async () => {
    const { client, server } = await connected();
    const before = openFds();
    const fd = createEventFd();
    server.replyFds = [fd];
    await client.reset();
    fd.close();
    expect(openFds()).toBe(before);
  });
});
