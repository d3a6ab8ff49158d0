import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

let measured: { pipelined: number; single: number };
beforeAll(() => {
  const program = fileURLToPath(new URL("programs/forwarding.js", import.meta.url));
  measured = JSON.parse(execFileSync(process.execPath, [program]).toString()) as typeof measured;
}, 60_000);

// As for a server without a relay (../server/hot-path.test.ts): the smallest object has 16 bytes.
describe("REGION_READ through a relay", () => {
  it("allocates nothing for a message: the heap grows by less than an object for each", () => {
    expect(measured.pipelined).toBeLessThan(8);
  });

  it("allocates nothing for a batch of one either: less than an object and a promise", () => {
    expect(measured.single).toBeLessThan(32);
  });
});
