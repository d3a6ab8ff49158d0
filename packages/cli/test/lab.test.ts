import { describe, expect, it } from "vitest";
import { Vfiokit } from "./vfiokit.js";

interface Cell {
  verdict: "pass" | "fail";
  executions: number;
  exhausted: boolean;
  counterexample?: string;
}
interface Verdicts {
  matrix: Record<string, Record<string, Cell>>;
}

const fails = ["lab", "run", "--scenario", "ioctl/fails/read", "--design", "callback,generation"];

describe("vfiokit lab run", () => {
  it("prints the verdicts, and for each failure the shortest counterexample", async () => {
    const { code, stdout, stderr } = await Vfiokit.run(...fails);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^ +callback +generation$/m);
    expect(stdout).toMatch(/^no-spurious-reset +FAIL \d+ +pass \d+$/m);
    expect(stdout).toMatch(/^callback: no-spurious-reset\n.*though no reset came/m);
    expect(stdout).toMatch(/^vfiokit lab replay 'callback\/ioctl\/fails\/one\/read@[^']+'$/m);
    expect(stdout).toMatch(/card\.0: its reset fails/);
  });

  it("prints them as JSON, the same with any number of workers", async () => {
    const [one, two] = await Promise.all([
      Vfiokit.run(...fails, "--json"),
      Vfiokit.run(...fails, "--json", "--workers", "2"),
    ]);
    expect(two).toEqual(one);
    const { matrix } = JSON.parse(one.stdout) as Verdicts;
    expect(Object.keys(matrix)).toEqual(["callback", "generation"]);
    expect(matrix["generation"]!["all-paths"]).toEqual({
      verdict: "pass",
      executions: expect.any(Number) as number,
      exhausted: true,
    });
    expect(matrix["callback"]!["no-spurious-reset"]).toMatchObject({ verdict: "fail" });
  });

  it("shares a large scenario's schedules among threads", { timeout: 120_000 }, async () => {
    const large = [
      "lab",
      "run",
      "--scenario",
      "ioctl/succeeds/one/read+sysfs",
      "--design",
      "locked",
      "--json",
    ];
    const [one, three] = await Promise.all([Vfiokit.run(...large), Vfiokit.run(...large, "--workers", "3")]);
    expect(three).toEqual(one);
    const { matrix } = JSON.parse(one.stdout) as Verdicts;
    expect(matrix["locked"]!["no-deadlock"]!.executions).toBeGreaterThan(256);
  });

  it("keeps to bounds, and says so", async () => {
    const scenario = "ioctl/succeeds/one/STOP_COPY-STOP+read";
    const { code, stdout, stderr } = await Vfiokit.run(
      "lab",
      "run",
      "--scenario",
      scenario,
      "--bound",
      "executions=2",
      "--json",
    );
    const { matrix } = JSON.parse(stdout) as Verdicts;
    expect(matrix["generation"]!["no-deadlock"]).toMatchObject({ executions: 2, exhausted: false });
    expect({ code, stderr }).toEqual({
      code: 3,
      stderr: "error: limits met: of generation not every interleaving was run\n",
    });
  });

  it.each([
    [["--design", "best"], /no design is called "best": locked, deferred, callback, release, generation/],
    [["--scenario", "best"], /no scenario fits "best"/],
    [["--bound", "time=3"], /--bound "time=3": "executions=N" or "preemptions=N"/],
    [["--workers", "none"], /--workers "none": a whole number/],
  ])("refuses %j", async (args, message) => {
    const { code, stderr } = await Vfiokit.run("lab", "run", ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe("vfiokit lab replay", () => {
  it("tells what happens, a task after the other", async () => {
    const run = await Vfiokit.run(...fails, "--json");
    const { counterexample } = (JSON.parse(run.stdout) as Verdicts).matrix["callback"]!["no-spurious-reset"]!;
    const { code, stdout } = await Vfiokit.run("lab", "replay", counterexample!);
    expect(code).toBe(0);
    const steps = ["takes card.0's memoryLock for writing", "its reset fails", "!! no-spurious-reset"];
    const at = steps.map((step) => stdout.indexOf(step));
    expect(at).toEqual(at.toSorted((a, b) => a - b));
    expect(at[0]).toBeGreaterThanOrEqual(0);
  });

  it("shows an order of locks as lockdep does", async () => {
    const { stdout } = await Vfiokit.run("lab", "replay", "locked@warm-up");
    expect(stdout).toContain("WARNING: possible circular locking dependency detected");
    for (const lock of ["stateMutex", "session.lock", "mmapLock", "memoryLock"])
      expect(stdout).toContain(lock);
  });

  it("fails where nothing is violated, and for what is no counterexample", async () => {
    const clean = await Vfiokit.run("lab", "replay", "generation/ioctl/succeeds/one/read@0");
    expect(clean).toMatchObject({ code: 1, stderr: expect.stringMatching(/nothing was violated/) as string });
    const unknown = await Vfiokit.run("lab", "replay", "generation");
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringMatching(/not of the form/) as string });
  });
});

describe("vfiokit lab list", () => {
  it("lists designs, invariants and scenarios", async () => {
    const { stdout } = await Vfiokit.run("lab", "list");
    for (const name of ["generation", "no-lost-update", "quick"]) expect(stdout).toContain(name);
    const some = await Vfiokit.run("lab", "list", "ioctl/fails/read");
    expect(some.stdout).toMatch(/^ioctl\/fails\/one\/read$/m);
  });
});
