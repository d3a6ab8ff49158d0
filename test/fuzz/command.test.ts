import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function script(name: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [`scripts/${name}.js`, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

describe("npm run fuzz:protocol, npm run soak", { timeout: 120_000 }, () => {
  it("play sessions of a seed, and tell as JSON what came of it", async () => {
    const { code, stdout } = await script(
      "fuzz-protocol",
      ...["--server", "serial", "--seed", "7", "--sessions", "2", "--json"],
    );
    expect(JSON.parse(stdout)).toMatchObject({ server: "serial", seed: 7, sessions: 2, findings: 0 });
    expect(code).toBe(0);
  });

  it.each([
    ["fuzz-protocol", "--seconds", "none"],
    ["fuzz-protocol", "--server", "toaster", "--sessions", "1"],
    ["fuzz-protocol", "--nonsense"],
    ["soak", "--minutes", "0"],
    ["soak", "--nonsense"],
  ])("refuse wrong usage with exit code 2: %s %s %s", async (name, ...args) => {
    const { code, stderr } = await script(name, ...args);
    expect(stderr).toMatch(new RegExp(`^${name.replace("-", ":")}: .*\n\nUsage: npm run`));
    expect(code).toBe(2);
  });

  it.each(["fuzz-protocol", "soak"])("--help: %s", async (name) => {
    expect(await script(name, "--help")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Usage/) as string,
    });
  });
});
