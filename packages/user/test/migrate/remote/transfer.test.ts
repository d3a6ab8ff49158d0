import { describe, expect, it } from "vitest";
import { FakeTarget, ID, pattern, Receiving } from "./support.js";

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
});
