import { promisify } from "node:util";
import { deflate, inflate } from "node:zlib";
import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import { EndpointGoneError } from "@vfiokit/user";
import { codec, zstd } from "../../../src/migrate/remote/compression.js";
import { FakeTarget, ID, pattern, Receiving, Wire } from "./support.js";

const zlib = codec(promisify(deflate), promisify(inflate));

describe("a device behind a receiver", () => {
  it("is described, loaded, prepared and activated", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    expect(await target.describe()).toEqual({ ...device.description, name: receiving.url() });
    const image = pattern(3_000_000);
    await target.begin();
    for (let at = 0; at < image.length; at += 70_001) await target.write(image.subarray(at, at + 70_001));
    await target.prepare(ID);
    expect(device.has(image)).toBe(true);
    await target.activate(ID);
    target.close();
    await receiving.told("ended");
    expect(device.steps).toEqual(["begin", `prepare ${ID}`, `activate ${ID}`, "close"]);
    expect(receiving.events.map(({ event }) => event)).toEqual([
      "listening",
      "connected",
      "begun",
      "prepared",
      "activated",
      "ended",
    ]);
  });

  it("whose server does not count resets has no generation", async () => {
    const device = new FakeTarget();
    device.description = { ...device.description, generation: undefined, handOver: false, state: "ERROR" };
    await using receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    expect(await target.describe()).toEqual({ ...device.description, name: receiving.url() });
    target.close();
  });

  it("takes bytes that the migration client changes after it has written them", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    await target.begin();
    const buffer = new Uint8Array(1000);
    for (let round = 0; round < 10; round++) await target.write(buffer.fill(round));
    buffer.fill(0xff);
    await target.prepare(ID);
    expect([...device.image]).toEqual(Array.from({ length: 10_000 }, (_, at) => Math.floor(at / 1000)));
    target.close();
  });

  it("takes several writes at once, in their order", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, { window: 300_000 });
    const target = await receiving.connect();
    await target.begin();
    const image = pattern(4_000_000);
    await Promise.all([0, 1, 2, 3].map((at) => target.write(image.subarray(at * 1e6, (at + 1) * 1e6))));
    await target.prepare(ID);
    expect(device.has(image)).toBe(true);
    target.close();
  });

  it("may begin again: what came before is of another image", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    await target.begin();
    await target.write(pattern(500_000, 1));
    await target.begin();
    await target.write(pattern(1000, 2));
    await target.prepare(ID);
    expect(device.has(pattern(1000, 2))).toBe(true);
    target.close();
  });

  it("is not written to before it has begun", async () => {
    await using receiving = await Receiving.start({ card: new FakeTarget() });
    const target = await receiving.connect();
    await expect(target.write(Uint8Array.of(1))).rejects.toThrow("EINVAL: bytes of no image");
    await target.begin();
    await target.discard(ID);
    await expect(target.write(Uint8Array.of(1))).rejects.toThrow("EINVAL: bytes of no image");
    target.close();
  });

  it("that is slow holds up the migrationClient: no more than the window is on the way, and not much less", async () => {
    const window = 1024 * 1024;
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, { window });
    await using wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("card", wire.port));
    await target.begin();
    const before = wire.up;
    let most = 0;
    let taken = 0;
    device.onWrite = async (bytes) => {
      await new Promise((resolve) => setImmediate(resolve));
      taken += bytes.length;
      most = Math.max(most, wire.up - before - taken);
    };
    const image = pattern(16 * window);
    await target.write(image);
    await target.prepare(ID);
    expect(device.has(image)).toBe(true);
    const headers = 64 * 1024;
    expect(most).toBeLessThanOrEqual(window + headers);
    expect(most).toBeGreaterThan(window / 4);
    target.close();
  });
});

describe("errors of the device", () => {
  it("reach the migration client as they are: code, message, and whether its server is gone", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    device.errors.set("describe", new VfioError("ENOTTY", "it has no migration"));
    await expect(target.describe()).rejects.toThrow(new VfioError("ENOTTY", "it has no migration"));
    device.errors.set("begin", new EndpointGoneError("/a/path: the server has ended"));
    await expect(target.begin()).rejects.toBeInstanceOf(EndpointGoneError);
    device.errors.set("activate", new VfioError("ECANCELED", "it was reset since it was prepared"));
    await expect(target.activate(ID)).rejects.toMatchObject({ code: "ECANCELED" });
    device.errors.set("discard", new Error("a bug"));
    await expect(target.discard(ID)).rejects.toThrow("EIO: a bug");
    // None of them has ended anything.
    expect(await target.describe()).toMatchObject({ generation: 7 });
    target.close();
  });

  it("while it is written to are thrown by what comes later, until the image is begun again", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    await target.begin();
    device.errors.set("write", new VfioError("EINVAL", "the stream is of another device"));
    await target.write(pattern(10));
    const refused = "EINVAL: the stream is of another device";
    await expect(target.prepare(ID)).rejects.toThrow(refused);
    await expect(target.write(pattern(10))).rejects.toThrow(refused);
    expect(device.calls).not.toContain(`prepare ${ID}`);
    await target.begin();
    await target.write(pattern(10, 3));
    await target.prepare(ID);
    expect(device.has(pattern(10, 3))).toBe(true);
    target.close();
  });

  it("that nobody asked about come with the next bytes: the migration client that waits for room gets them", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, { window: 256 * 1024 });
    const target = await receiving.connect();
    await target.begin();
    device.errors.set("write", new VfioError("EINVAL", "too large"));
    await expect(target.write(pattern(4 * 1024 * 1024))).rejects.toThrow("EINVAL: too large");
    target.close();
  });

  it("when it is opened are the receiver's answer", async () => {
    const none = {
      open: () => Promise.reject(new VfioError("EBUSY", "another client is connected")),
      handOver: () => Promise.reject(new VfioError("ENOTTY", "no")),
    };
    await using receiving = await Receiving.start({ card: none });
    await expect(receiving.connect()).rejects.toThrow("EBUSY: another client is connected");
    // It did not stay taken.
    await expect(receiving.connect()).rejects.toThrow("EBUSY: another client is connected");
  });
});

describe("several devices", () => {
  it("are loaded through one port at once", async () => {
    const devices = { a: new FakeTarget(), b: new FakeTarget() };
    await using receiving = await Receiving.start(devices);
    const move = async (name: "a" | "b", seed: number) => {
      const target = await receiving.connect({}, receiving.url(name));
      await target.begin();
      const image = pattern(2_000_000, seed);
      for (let at = 0; at < image.length; at += 100_000) await target.write(image.subarray(at, at + 100_000));
      await target.prepare(ID);
      await target.activate(ID);
      target.close();
      expect(devices[name].has(image)).toBe(true);
    };
    await Promise.all([move("a", 1), move("b", 2)]);
  });

  it("have to be named, rightly", async () => {
    await using receiving = await Receiving.start({ a: new FakeTarget(), b: new FakeTarget() });
    await expect(receiving.connect()).rejects.toThrow("ENOENT: name a device, of a, b");
    await expect(receiving.connect({}, receiving.url("c"))).rejects.toThrow(
      "ENOENT: no device c: there is a, b",
    );
  });

  it("each take one migration client at a time", async () => {
    await using receiving = await Receiving.start({ a: new FakeTarget(), b: new FakeTarget() });
    const first = await receiving.connect({}, receiving.url("a"));
    await expect(receiving.connect({}, receiving.url("a"))).rejects.toThrow(
      "EBUSY: a: another migration is under way",
    );
    const other = await receiving.connect({}, receiving.url("b"));
    first.close();
    await receiving.told("ended");
    (await receiving.connect({}, receiving.url("a"))).close();
    other.close();
  });
});

describe("compression", () => {
  /** Bytes that went up the wire for an image of 1 MiB of zeroes. */
  async function sent(
    migrationClient: typeof zlib | undefined,
    receiver: typeof zlib | undefined,
  ): Promise<number> {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, { codec: receiver });
    await using wire = await Wire.to(receiving.port);
    const log: string[] = [];
    const target = await receiving.connect(
      { compression: "zstd", codec: migrationClient, log: (_level, message) => log.push(message) },
      receiving.url("", wire.port),
    );
    await target.begin();
    const image = new Uint8Array(1024 * 1024);
    await target.write(image);
    const mixed = pattern(1000);
    await target.write(mixed); // does not get smaller, and is sent as it is
    await target.prepare(ID);
    target.close();
    expect(device.has(Buffer.concat([image, mixed]))).toBe(true);
    expect(log).toHaveLength(((migrationClient && receiver) ?? zstd) ? 0 : 1);
    return wire.up;
  }

  it("is used where both sides can", async () => {
    expect(await sent(zlib, zlib)).toBeLessThan(20_000);
  });

  it.runIf(zstd)("is Node's own Zstandard", async () => {
    expect(await sent(undefined, undefined)).toBeLessThan(20_000);
  });

  it.skipIf(zstd)("is left out, with a message, where one side cannot", async () => {
    expect(await sent(zlib, undefined)).toBeGreaterThan(1024 * 1024);
    expect(await sent(undefined, zlib)).toBeGreaterThan(1024 * 1024);
  });
});
