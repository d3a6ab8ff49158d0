import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import {
  connectRemoteHandOver,
  EndpointGoneError,
  type HandOverReport,
  type TargetHandOver,
} from "@vfiokit/user";
import { deviceOf, FakeTarget, ID, insecure, pattern, Receiving, Wire } from "./support.js";

/** What of a session is over before anybody can see it. */
const WINDOW = { resumeWindow_ms: 60_000 };

describe("a migration client that says goodbye", () => {
  it("before it has begun: nothing was done to the device", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, WINDOW);
    const target = await receiving.connect();
    await target.describe();
    target.close();
    await receiving.told("ended");
    expect(device.calls).toEqual(["describe", "close"]);
  });

  it("in the middle of an image: what was loaded is discarded", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, WINDOW);
    const target = await receiving.connect();
    await target.begin();
    await target.write(pattern(100));
    target.close();
    expect(await receiving.told("discarded")).toMatchObject({ device: "card", bytes: 100 });
    await receiving.told("ended");
    expect(device.steps).toEqual(["begin", "discard", "close"]);
  });

  it("after the image was refused: the same", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, WINDOW);
    const target = await receiving.connect();
    await target.begin();
    device.errors.set("prepare", new VfioError("EINVAL", "incomplete"));
    await expect(target.prepare(ID)).rejects.toThrow("EINVAL: incomplete");
    target.close();
    await receiving.told("ended");
    expect(device.steps).toEqual(["begin", `prepare ${ID}`, `discard ${ID}`, "close"]);
  });

  it("after `prepare`: the device stays prepared, and a message says what to do", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, WINDOW);
    const target = await receiving.connect();
    await target.begin();
    await target.prepare(ID);
    target.close();
    const { message, level, migration } = await receiving.told("left-prepared");
    expect(message).toContain("vfiokit migrate --recover FROM TO");
    expect({ level, migration }).toEqual({ level: "error", migration: ID });
    await receiving.told("ended");
    expect(device.steps).toEqual(["begin", `prepare ${ID}`, "close"]);
  });

  it("after `discard`: nothing more is done", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, WINDOW);
    const target = await receiving.connect();
    await target.begin();
    await target.discard(ID);
    target.close();
    await receiving.told("ended");
    expect(device.steps).toEqual(["begin", `discard ${ID}`, "close"]);
  });

  it("fails what it had not got an answer to", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, WINDOW);
    const target = await receiving.connect();
    await target.begin();
    let release: () => void = () => undefined;
    const entered = new Promise<void>((enter) => {
      device.onWrite = () => new Promise<void>((resolve) => (enter(), (release = resolve)));
    });
    await target.write(pattern(1));
    const prepared = target.prepare(ID);
    await entered;
    target.close();
    target.close();
    await expect(prepared).rejects.toMatchObject({ code: "ECANCELED" });
    await expect(target.describe()).rejects.toMatchObject({ code: "ECANCELED" });
    release();
    await receiving.told("ended");
    // It has not heard that the device is prepared, and so cannot have given the source away.
    expect(device.steps).toEqual(["begin", `prepare ${ID}`, `discard ${ID}`, "close"]);
  });
});

describe("a migration client whose connection breaks and does not come again", () => {
  /** A migration client that is at work, and then cannot reach the receiver any more. */
  async function lost(until: "begun" | "prepared" | "activated") {
    const device = new FakeTarget();
    const receiving = await Receiving.start({ card: device }, { resumeWindow_ms: 50 });
    const wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("", wire.port));
    await target.begin();
    if (until !== "begun") await target.prepare(ID);
    if (until === "activated") await target.activate(ID);
    wire.refuses = true;
    wire.cut();
    await receiving.told("broken");
    await receiving.told("ended");
    return {
      device,
      receiving,
      target,
      async [Symbol.asyncDispose]() {
        target.close();
        await wire[Symbol.asyncDispose]();
        await receiving.close();
      },
    };
  }

  it("within the window: what was loaded is discarded", async () => {
    await using end = await lost("begun");
    expect(end.device.steps).toEqual(["begin", "discard", "close"]);
    expect((await end.receiving.told("ended")).message).toBe("the migration client has not come again");
  });

  it("after `prepare`: the device stays prepared", async () => {
    await using end = await lost("prepared");
    expect(end.device.steps).toEqual(["begin", `prepare ${ID}`, "close"]);
    await end.receiving.told("left-prepared");
  });

  it("after `activate`: it runs, and its socket is free at once", async () => {
    await using end = await lost("activated");
    expect(end.device.steps).toEqual(["begin", `prepare ${ID}`, `activate ${ID}`, "close"]);
  });

  it("has its own end: ETIMEDOUT, as nobody knows what was done", async () => {
    await using end = await lost("prepared");
    await expect(end.target.activate(ID)).rejects.toThrow(
      /^ETIMEDOUT: tls:.* the connection broke .* could not be made again within 0.05 s/,
    );
  });

  it("and comes too late: the receiver does not know it any more", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    await using wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("", wire.port));
    await target.begin();
    await target.prepare(ID);
    wire.refuses = true;
    wire.cut();
    await receiving.told("broken");
    // Another migration client decides meanwhile: for what is prepared, nobody has to wait.
    const other = await receiving.connect();
    await other.discard(ID);
    wire.refuses = false;
    await expect(target.activate(ID)).rejects.toThrow(
      "ECONNRESET: card: the receiver does not know this migration",
    );
    other.close();
    expect(device.steps.slice(0, 4)).toEqual(["begin", `prepare ${ID}`, "close", `discard ${ID}`]);
  });

  it("keeps its device from others while an image is coming, and only then", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device });
    await using wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("", wire.port));
    await target.begin();
    wire.refuses = true;
    wire.cut();
    await receiving.told("broken");
    await expect(receiving.connect()).rejects.toThrow(
      "EBUSY: card: another migration is under way, or broke",
    );
    wire.refuses = false;
    await receiving.told("resumed");
    await target.discard(ID);
    wire.refuses = true;
    wire.cut();
    await receiving.told("broken", 2);
    (await receiving.connect()).close();
    target.close();
  });
});

describe("the end of a receiver", () => {
  it("discards what is being loaded, and tells the migration client", async () => {
    const device = new FakeTarget();
    const receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    await target.begin();
    await target.write(pattern(1000));
    await receiving.close();
    expect(device.steps).toEqual(["begin", "discard", "close"]);
    await expect(target.prepare(ID)).rejects.toThrow("ECONNRESET: the receiver was ended");
    target.close();
  });

  it("leaves what is prepared as it is", async () => {
    const device = new FakeTarget();
    const receiving = await Receiving.start({ card: device });
    const target = await receiving.connect();
    await target.begin();
    await target.prepare(ID);
    await receiving.close();
    expect(device.steps).toEqual(["begin", `prepare ${ID}`, "close"]);
    expect((await receiving.told("left-prepared")).message).toContain("the receiver ends");
    target.close();
  });

  it("does not wait for a migration client that is away", async () => {
    const device = new FakeTarget();
    const receiving = await Receiving.start({ card: device });
    await using wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("", wire.port));
    await target.begin();
    wire.refuses = true;
    wire.cut();
    await receiving.told("broken");
    await receiving.close();
    expect(device.steps).toEqual(["begin", "discard", "close"]);
    target.close();
  });
});

describe("a hand-over that was left in the middle", () => {
  const report: HandOverReport = {
    phase: "prepared",
    id: ID,
    wasReset: true,
    state: "STOP",
    generation: 3,
    instance: "0123456789abcdef",
  };
  const done: HandOverReport = {
    phase: "none",
    wasReset: false,
    outcome: "activated",
    state: "RUNNING",
    generation: 3,
    instance: "0123456789abcdef",
  };

  function handOver(asked: string[]): TargetHandOver {
    return {
      status: (id) => (asked.push(`status ${id ?? "-"}`), Promise.resolve(report)),
      step: (step, id) => (asked.push(`${step} ${id}`), Promise.resolve(done)),
      close: () => asked.push("close"),
    };
  }

  it("is looked at and finished over the same port, without being a client of the device", async () => {
    const device = new FakeTarget();
    const asked: string[] = [];
    await using receiving = await Receiving.start({
      card: { ...deviceOf(device), handOver: () => Promise.resolve(handOver(asked)) },
    });
    const remote = await connectRemoteHandOver(receiving.url("card"), { security: insecure });
    expect(await remote.status()).toEqual(report);
    expect(await remote.status(ID)).toEqual(report);
    expect(await remote.step("activate", ID)).toEqual(done);
    expect(await remote.step("discard", ID)).toEqual(done);
    remote.close();
    await receiving.close();
    expect((await receiving.told("activated")).message).toMatch(/^recovery by 127.*: the device runs$/);
    expect(asked).toEqual(["status -", `status ${ID}`, `activate ${ID}`, `discard ${ID}`, "close"]);
    expect(device.calls).toEqual([]);
  });

  it("is nobody's business while its migration client is there; when it is away, the device is free for it", async () => {
    const device = new FakeTarget();
    const asked: string[] = [];
    await using receiving = await Receiving.start({
      card: { ...deviceOf(device), handOver: () => Promise.resolve(handOver(asked)) },
    });
    await using wire = await Wire.to(receiving.port);
    const target = await receiving.connect({}, receiving.url("", wire.port));
    await target.begin();
    await target.prepare(ID);
    const recover = () => connectRemoteHandOver(receiving.url(), { security: insecure });
    await expect(recover()).rejects.toThrow("EBUSY: card: another migration is under way");
    wire.refuses = true;
    wire.cut();
    await receiving.told("broken");
    const remote = await recover();
    expect(device.calls.at(-1)).toBe("close");
    expect(receiving.events.map(({ event }) => event)).not.toContain("left-prepared");
    remote.close();
    target.close();
  });

  it("of a device that is gone: the receiver says so", async () => {
    const gone = () => Promise.reject(new EndpointGoneError("nobody serves it"));
    await using receiving = await Receiving.start({
      card: { ...deviceOf(new FakeTarget()), handOver: gone },
    });
    const remote = connectRemoteHandOver(receiving.url(), { security: insecure });
    await expect(remote).rejects.toBeInstanceOf(EndpointGoneError);
  });
});
