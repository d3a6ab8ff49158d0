import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

let measured: { pipelined: number; single: number; idle: number };
beforeAll(() => {
  const program = fileURLToPath(new URL("programs/hot-path.js", import.meta.url));
  measured = JSON.parse(execFileSync(process.execPath, [program]).toString()) as typeof measured;
}, 60_000);

describe("REGION_READ", () => {
  // The smallest object has 16 bytes. What remains is the event loop's: a little for each stretch of polling.
  it("allocates nothing for a message: the heap grows by less than an object for each", () => {
    expect(measured.pipelined).toBeLessThan(8);
  });

  it("allocates nothing for a batch of one either: less than an object and a promise", () => {
    expect(measured.single).toBeLessThan(32);
  });
});

describe("a server whose client is silent", () => {
  it("uses no CPU: under a twentieth of what it uses when busy", () => {
    expect(measured.idle).toBeLessThan(0.05);
  });
});
