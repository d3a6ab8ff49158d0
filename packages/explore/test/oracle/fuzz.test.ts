import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const SCRIPT = fileURLToPath(new URL("../../../../scripts/fuzz-explore.js", import.meta.url));
const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));

function fuzz(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [SCRIPT, ...args], { cwd: ROOT }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe("npm run fuzz:explore", () => {
  it(
    "compares as many programs as it is told, from the seed that it prints",
    { timeout: 60_000 },
    async () => {
      const { code, stdout } = await fuzz("--programs", "5", "--seed", "7", "--no-foreign");
      expect(stdout).toMatch(/^seed 7\n5 programs, \d+ too large, \d+ executions, 0 differ, \d+ s\n$/);
      expect(code).toBe(0);
    },
  );

  it("stops after so many seconds", { timeout: 60_000 }, async () => {
    const { code, stdout } = await fuzz("--seconds", "1", "--seed", "7", "--no-foreign");
    expect(stdout).toMatch(/\d+ programs, .* 0 differ, [1-9]\d* s\n$/);
    expect(code).toBe(0);
  });

  it("says what is wrong with an option", async () => {
    const { code, stderr } = await fuzz("--seconds", "soon");
    expect(stderr).toMatch(/^fuzz:explore: --seconds soon: a whole number from 1 up is needed\n/);
    expect(code).toBe(2);
  });
});
