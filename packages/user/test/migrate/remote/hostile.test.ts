import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { promisify } from "node:util";
import { deflate, deflateSync, inflate } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import { connectRemoteTarget, type ReceiverOptions } from "@vfiokit/user";
import {
  encodeFrame,
  failureOf,
  Header,
  HandOverStep,
  MAGIC,
  MAX_DATA,
  PROOF_SIZE,
  type FrameName,
  type FrameValue,
} from "../../../src/migrate/remote/protocol.js";
import { codec } from "../../../src/migrate/remote/compression.js";
import { FrameSocket } from "../../../src/migrate/remote/frame-socket.js";
import { FakeTarget, ID, insecure, pattern, Receiving } from "./support.js";

const hello = (fields: Partial<FrameValue<"HELLO">> = {}): FrameValue<"HELLO"> => ({
  magic: MAGIC,
  version: 1,
  purpose: 0,
  compression: 0,
  reserved: 0,
  session: randomBytes(16),
  proof: new Uint8Array(PROOF_SIZE),
  device: "card",
  ...fields,
});

/** A migration client that says what it wants. */
class Raw implements Disposable {
  readonly frames: FrameSocket;

  private constructor(readonly socket: Socket) {
    this.frames = new FrameSocket(socket, "receiver");
  }

  static async to(port: number): Promise<Raw> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new Raw(socket);
  }

  /** One that was welcomed. */
  static async welcomed(port: number, device = "card"): Promise<Raw> {
    const raw = await Raw.to(port);
    raw.send("HELLO", hello({ device }));
    expect(await raw.next()).toBe("WELCOME");
    return raw;
  }

  send<N extends FrameName>(name: N, value: FrameValue<N>): this {
    this.frames.send(name, value);
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.frames.write(bytes);
    return this;
  }

  /** The next frame's name; what an error says; undefined: the connection has ended. */
  async next(): Promise<string | undefined> {
    const frame = await this.frames.read(10_000).catch(() => undefined);
    return frame?.frame === "REFUSED" || frame?.frame === "FAILED"
      ? failureOf(frame.value).message
      : frame?.frame;
  }

  [Symbol.dispose](): void {
    this.frames.destroy();
  }
}

/** A device that nobody disturbs, beside the one that is played with. */
async function started(options: Partial<ReceiverOptions> = {}) {
  const card = new FakeTarget();
  const other = new FakeTarget();
  const receiving = await Receiving.start({ card, other }, options);
  const image = pattern(300_000);
  const target = await receiving.connect({ timing: options.timing }, receiving.url("other"));
  await target.begin();
  await target.write(image.subarray(0, 1000));
  return {
    card,
    receiving,
    port: receiving.port,
    async [Symbol.asyncDispose]() {
      await target.write(image.subarray(1000));
      await target.prepare(ID);
      await target.activate(ID);
      target.close();
      expect(other.has(image)).toBe(true);
      await receiving.close();
      expect(receiving.events.filter(({ message }) => message.includes("a bug"))).toEqual([]);
    },
  };
}

describe("a connection that is no migration client's", () => {
  it.each([
    [
      "a web browser",
      Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
      "EINVAL: header.type is 0x4547: a frame that a client sends",
    ],
    [
      "a frame of a receiver's",
      encodeFrame("ACK", { image: 1, taken: 0n }),
      "EINVAL: header.type is 0x85: a frame that a client sends",
    ],
    ["something else first", encodeFrame("BEGIN", { request: 1 }), "EPROTO: HELLO comes first"],
    ["another magic", encodeFrame("HELLO", hello({ magic: new Uint8Array(8) })), "EPROTO: HELLO comes first"],
    ["version 0", encodeFrame("HELLO", hello({ version: 0 })), "EPROTO: version 0: this side speaks 1"],
    [
      "a HELLO that is too long",
      header(1, 64 + 256),
      "EINVAL: header.length is 320: HELLO has 64 to 319 bytes",
    ],
    ["a HELLO that is too short", header(1, 63), "EINVAL: header.length is 63: HELLO has 64 to 319 bytes"],
    ["a reserved field", Uint8Array.of(1, 0, 1, 0, 64, 0, 0, 0), "EINVAL: header.reserved is 1: zero"],
    [
      "a purpose that nobody knows",
      encodeFrame("HELLO", hello({ purpose: 9 })),
      "EPROTO: purpose 9: no such thing",
    ],
    [
      "a proof of nothing",
      encodeFrame("HELLO", hello({ proof: randomBytes(PROOF_SIZE) })),
      "ECONNRESET: card: the receiver does not know this migration any more",
    ],
    [
      "a name that is no text",
      Buffer.concat([
        header(1, 65),
        encodeFrame("HELLO", hello({ device: "" })).subarray(8),
        Uint8Array.of(0xff),
      ]),
      /EINVAL: HELLO\.text is ff: UTF-8/,
    ],
  ])("%s: it is told why, and sent away", async (_name, bytes, message) => {
    await using all = await started();
    using raw = await Raw.to(all.port);
    expect(await raw.bytes(bytes).next()).toMatch(message);
    expect(await raw.next()).toBeUndefined();
    expect(all.card.calls).toEqual([]);
  });

  it("nothing at all, or half a HELLO: it is closed after a while", async () => {
    await using all = await started({ timing: { hello_ms: 50 } });
    using silent = await Raw.to(all.port);
    using slow = await Raw.to(all.port);
    slow.bytes(encodeFrame("HELLO", hello()).subarray(0, 40));
    expect(await silent.next()).toBeUndefined();
    expect(await slow.next()).toBeUndefined();
  });

  it("more of them than there is room for: the longest silent makes way, and a client with something to say is served", async () => {
    await using all = await started({ maxConnections: 4 });
    const raws: Raw[] = [];
    for (let count = 0; count < 3; count++) raws.push(await Raw.to(all.port));
    using late = await Raw.to(all.port);
    expect(await raws[0]!.next()).toBeUndefined();
    expect((await all.receiving.told("refused")).message).toMatch("turned away: there are 4");
    late.send("HELLO", hello({ device: "nobody" }));
    expect(await late.next()).toMatch("ENOENT: no device nobody");
    for (const raw of raws) raw[Symbol.dispose]();
  });

  it("64 of one address: no more than 56 stay, and a client with something to say is served", async () => {
    await using all = await started();
    const raws: Raw[] = [];
    for (let count = 0; count < 64; count++) raws.push(await Raw.to(all.port));
    await all.receiving.told("refused", 64 - 56);
    using late = await Raw.to(all.port);
    late.send("HELLO", hello({ device: "nobody" }));
    expect(await late.next()).toMatch("ENOENT: no device nobody");
    for (const raw of raws) raw[Symbol.dispose]();
  });

  it("only those who are connected and accepted, as many as there may be: another one is turned away", async () => {
    await using all = await started({ maxConnections: 1 });
    using late = await Raw.to(all.port);
    expect(await late.next()).toBeUndefined();
    expect((await all.receiving.told("refused")).message).toMatch("turned away: there are 1");
  });
});

describe("a migration client that breaks the protocol", () => {
  const data = (fields: Partial<FrameValue<"DATA">> = {}): FrameValue<"DATA"> => ({
    image: 1,
    flags: 0,
    offset: 0n,
    size: 4,
    data: Uint8Array.of(1, 2, 3, 4),
    ...fields,
  });

  it.each<[string, readonly Uint8Array[], string]>([
    ["bytes of no image", [encodeFrame("DATA", data())], "bytes of image 1, which was not begun"],
    [
      "bytes of a later image",
      [begin(1), encodeFrame("DATA", data({ image: 2 }))],
      "bytes of image 2, which was not begun",
    ],
    [
      "bytes that leave a gap",
      [begin(1), encodeFrame("DATA", data({ offset: 4n }))],
      "bytes from 4 on, and 0 were taken",
    ],
    [
      "bytes that come twice",
      [begin(1), encodeFrame("DATA", data()), encodeFrame("DATA", data())],
      "bytes from 0 on, and 4 were taken",
    ],
    [
      "a size that lies",
      [begin(1), encodeFrame("DATA", data({ size: 5 }))],
      "DATA of 5 bytes: the frame holds 4",
    ],
    [
      "no bytes",
      [begin(1), encodeFrame("DATA", data({ size: 0, data: new Uint8Array() }))],
      "DATA of 0 bytes",
    ],
    ["too many bytes", [begin(1), header(4, 20 + MAX_DATA + 1)], "DATA has 20 to "],
    [
      "compression that was not agreed upon",
      [begin(1), encodeFrame("DATA", data({ flags: 1 }))],
      "not agreed upon",
    ],
    ["a request out of order", [begin(2)], "request 2 after request 0"],
    ["HELLO again", [encodeFrame("HELLO", hello())], "HELLO: no frame for this moment"],
    [
      "a frame of recovery",
      [encodeFrame("HAND_OVER", { request: 1, step: HandOverStep.activate, migration: new Uint8Array(16) })],
      "HAND_OVER: no frame",
    ],
  ])("%s: the migration is over, and the device is not left half loaded", async (_name, frames, message) => {
    await using all = await started();
    using raw = await Raw.welcomed(all.port);
    for (const frame of frames) raw.bytes(frame);
    let answer: string | undefined;
    do answer = await raw.next();
    while (answer === "DONE" || answer === "ACK");
    expect(answer).toContain(message);
    await all.receiving.told("ended");
    const begun = frames.length > 1;
    expect(all.card.steps).toEqual(begun ? ["begin", "discard", "close"] : ["close"]);
    (await all.receiving.connect({}, all.receiving.url("card"))).close();
  });

  it("that is another's: without the proof it does not get in, and the migration goes on", async () => {
    await using all = await started();
    using raw = await Raw.to(all.port);
    const session = randomBytes(16);
    expect(await raw.send("HELLO", hello({ session })).next()).toBe("WELCOME");
    using thief = await Raw.to(all.port);
    thief.send("HELLO", hello({ session, proof: randomBytes(PROOF_SIZE) }));
    expect(await thief.next()).toContain("the receiver does not know this migration");
    expect(await raw.bytes(begin(1)).next()).toBe("DONE");
  });

  it.each([
    ["that are more than announced", deflateSync(new Uint8Array(64 * 1024 * 1024)), "they should hold 10 ("],
    ["that are fewer", deflateSync(new Uint8Array(5)), "they should hold 10, and hold 5"],
    ["that are none", Uint8Array.of(1, 2, 3), "they should hold 10 ("],
  ])("by compressed bytes %s: refused at the size that was announced", async (_name, packed, message) => {
    await using all = await started({ codec: codec(promisify(deflate), promisify(inflate)) });
    using raw = await Raw.to(all.port);
    raw.send("HELLO", hello({ compression: 1 })).bytes(begin(1));
    raw.send("DATA", data({ flags: 1, size: 10, data: packed.subarray(0, MAX_DATA) }));
    expect(await raw.next()).toBe("WELCOME");
    expect(await raw.next()).toBe("DONE");
    expect(await raw.next()).toContain(message);
    await all.receiving.told("ended");
    expect(all.card.steps).toEqual(["begin", "discard", "close"]);
  });

  it("by saying nothing any more: its connection counts as broken", async () => {
    await using all = await started({ timing: { idle_ms: 200, alive_ms: 20 } });
    using raw = await Raw.welcomed(all.port);
    raw.bytes(begin(1));
    await all.receiving.told("broken", 1, "card");
  });

  it("by not reading the answers: its connection counts as broken, and no more is done for it", async () => {
    await using all = await started({ timing: { idle_ms: 500, alive_ms: 20 } });
    let asked = 0;
    all.card.describe = () => Promise.reject(new VfioError("EIO", `${++asked}`.padEnd(1000)));
    using raw = await Raw.welcomed(all.port);
    raw.socket.removeAllListeners("readable");
    raw.socket.pause();
    // More than the sockets' buffers hold of the answers.
    const requests = 30_000;
    for (let request = 1; request <= requests; request++) {
      raw.send("DESCRIBE", { request });
      if (request % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await all.receiving.told("broken", 1, "card");
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(requests);
  });

  it("by anything at random: no crash, no half-loaded device, the other one unharmed", async () => {
    await using all = await started({ timing: { hello_ms: 1000 } });
    const names = ["DESCRIBE", "BEGIN", "PREPARE", "ACTIVATE", "DISCARD", "CLIENT_ALIVE"] as const;
    const request = fc.integer({ min: 0, max: 6 });
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc
        .record({ name: fc.constantFrom(...names), request })
        .map(({ name, request: number }) =>
          encodeFrame(name, { request: number, migration: new Uint8Array(16) }),
        ),
      fc
        .record({
          image: request,
          flags: fc.nat(3),
          offset: fc.oneof(fc.constant(0n), fc.bigInt(0n, 1n << 63n)),
          size: fc.oneof(fc.constant(8), fc.nat()),
          data: fc.uint8Array({ minLength: 8, maxLength: 8 }),
        })
        .map((value) => encodeFrame("DATA", value)),
      fc
        .record({ type: fc.nat(0xffff), length: fc.nat(0xffff_ffff) })
        .map(({ type, length }) => header(type, length)),
    );
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(frame, { maxLength: 12 }), async (welcomed, frames) => {
        using raw = await Raw.to(all.port);
        if (welcomed) raw.send("HELLO", hello());
        for (const bytes of frames) raw.bytes(bytes);
        raw.socket.end();
        while ((await raw.next()) !== undefined);
        // The next migration client finds it free, sooner or later.
        for (;;) {
          const target = await all.receiving.connect({}, all.receiving.url("card")).catch(() => undefined);
          target?.close();
          if (target) return;
          await all.receiving.told(
            "ended",
            all.receiving.events.filter(({ event }) => event === "ended").length + 1,
          );
        }
      }),
      { numRuns: 150 },
    );
    const { calls } = all.card;
    expect(calls.at(-1)).toMatch(/close|describe/);
  }, 60_000);
});

describe("a receiver that is none", () => {
  /** A server that says what it wants to whoever says HELLO. */
  async function against(...answers: readonly Uint8Array[]) {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => answers.forEach((bytes) => socket.write(bytes)));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    return {
      connecting: connectRemoteTarget(`tls://127.0.0.1:${port}`, {
        security: insecure,
        timing: { hello_ms: 2000 },
      }),
      [Symbol.dispose]: () => server.close(),
    };
  }

  const welcome = (fields: Partial<FrameValue<"WELCOME">> = {}) =>
    encodeFrame("WELCOME", {
      version: 1,
      compression: 0,
      window: 1 << 20,
      resumeWindow: 0,
      proof: randomBytes(PROOF_SIZE),
      request: 0,
      image: 0,
      taken: 0n,
      ...fields,
    });
  const done = (request: number) => encodeFrame("DONE", { request });

  it.each<[string, Uint8Array, RegExp]>([
    [
      "sends text",
      Buffer.from("220 mail.example ESMTP ready\r\n"),
      /^EPROTO: .*a frame that a receiver sends/,
    ],
    ["speaks a later version", welcome({ version: 2 }), /^EPROTO: .*version 2, and this side 1/],
    ["answers before it was asked", done(1), /^EPROTO: .*DONE before WELCOME/],
    ["announces more than a frame can hold", header(0x86, 1 << 20), /^EPROTO: .*REFUSED has/],
  ])("that %s is refused", async (_name, answer, message) => {
    using server = await against(answer);
    await expect(server.connecting).rejects.toThrow(message);
  });

  it.each<[string, readonly Uint8Array[], RegExp]>([
    [
      "has taken what was not sent",
      [done(1), encodeFrame("ACK", { image: 1, taken: 1n << 60n })],
      /^EPROTO: .*taken/,
    ],
    ["answers what was not asked", [done(7)], /^EPROTO: .*request 7, which is not open/],
    ["welcomes again", [welcome()], /^EPROTO: .*WELCOME: no frame for this moment/],
    [
      "goes away",
      [encodeFrame("REFUSED", { errno: 104, flags: 0, message: "the end" })],
      /^ECONNRESET: .*the end/,
    ],
  ])("that %s: everything fails from there on", async (_name, answers, message) => {
    using server = await against(welcome(), ...answers);
    const target = await server.connecting;
    await expect(
      (async () => {
        for (;;) await target.begin();
      })(),
    ).rejects.toThrow(message);
    await expect(target.activate(ID)).rejects.toThrow(message);
    target.close();
  });

  it("that says nothing any more: the connection counts as broken", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.write(welcome()));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `tls://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const target = await connectRemoteTarget(url, { security: insecure, timing: { idle_ms: 50 } });
    await expect(target.describe()).rejects.toThrow(/^ETIMEDOUT: .*nothing has arrived for 0.05 s/);
    target.close();
    server.close();
  });
});

function header(type: number, length: number): Uint8Array {
  return Header.encode({ type, reserved: 0, length });
}

function begin(request: number): Uint8Array {
  return encodeFrame("BEGIN", { request });
}
