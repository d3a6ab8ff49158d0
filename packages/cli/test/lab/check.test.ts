import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseProtocol } from "@vfiokit/lockdep/protocol";
import { describe, expect, it } from "vitest";
import { replayProtocol, searchProtocol } from "../../src/lab/protocol.js";
import { scratch, Vfiokit } from "../vfiokit.js";

const path = (relative: string): string => fileURLToPath(new URL(`../../../../${relative}`, import.meta.url));
const example = path("examples/vfio-reset.yaml");
const selftest = path("packages/lockdep/protocols/selftest");

const check = (...args: string[]) => Vfiokit.run("lab", "check", ...args);

interface Result {
  scenario: string;
  verdict: string;
  ok: boolean;
  executions: number;
  exhausted: boolean;
  tasks: string[];
  counterexample?: string;
  lines?: { task: string; text: string }[];
  lockdep: string;
  comparison?: string;
}

/** Two tasks that take A and B in opposite orders; `around` is taken by both first, and released last. */
function abba(around: string | undefined, expect?: string): string {
  const task = (first: string, second: string): string[][] => [
    ...(around === undefined ? [] : [["lock", around]]),
    ["lock", first],
    ["lock", second],
    ["unlock", second],
    ["unlock", first],
    ...(around === undefined ? [] : [["unlock", around]]),
  ];
  const locks = Object.fromEntries(["A", "B", "outer"].map((name) => [name, { kind: "mutex" }]));
  const tasks = [
    { name: "ab", steps: task("A", "B") },
    { name: "ba", steps: task("B", "A") },
  ];
  return JSON.stringify({ scenarios: [{ name: "abba", locks, tasks, expect }] });
}

describe("vfiokit lab check", () => {
  it("prints an interleaving that deadlocks, line by line, and how to replay it", async () => {
    using folder = scratch();
    const file = folder.file("abba.json");
    writeFileSync(file, abba(undefined));
    const { code, stdout, stderr } = await check(file);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "error: 1 of 1 scenarios fail\n" });
    const [, schedule] = /--replay '([^']+)'$/m.exec(stdout)!;
    expect(stdout.split("\n")).toEqual([
      expect.stringMatching(/^FAILED .*abba\.json: abba: deadlock, found in \d+ executions$/),
      "  ab  takes A",
      "  ba  takes B",
      "  ab  !! waits for B, held by ba, for ever",
      "  ba  !! waits for A, held by ab, for ever",
      `  vfiokit lab check ${file} --scenario abba --replay '${schedule!}'`,
      "",
    ]);
    const again = await check(file, "--scenario", "abba", "--replay", schedule!);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toContain("ba  !! waits for A, held by ab, for ever\n");
  });

  it("names the writer that lets readers wait for each other, where the file's tasks alone cannot", async () => {
    const { code, stdout } = await check(example, "--scenario", "ioctl-reset");
    expect(code).toBe(0); // the file expects a problem
    expect(stdout).toMatch(/: deadlock, found in \d+ executions, with a writer of mmap_lock besides$/m);
    expect(stdout).toContain(
      "  lockdep check says cycle: the same. Each task of the file once does not deadlock.\n",
    );
    const [, schedule] = /--replay '(\+1 [^']+)'$/m.exec(stdout)!;
    const again = await check(example, "--scenario", "ioctl-reset", "--replay", schedule!);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toMatch(
      /^a writer of mmap_lock +!! waits for mmap_lock, held by vfio_pin_dma, for ever$/m,
    );
  });

  it("proves that there is none, and says why lockdep's cycle is out of reach", async () => {
    using folder = scratch();
    const file = folder.file("guarded.json");
    writeFileSync(file, abba("outer"));
    const { code, stdout } = await check(file);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ok .*: abba: no deadlock: proved, \d+ executions$/m);
    expect(stdout).toContain(
      "  lockdep check says cycle: the orders contradict each other, but every task of the cycle holds outer " +
        "meanwhile, so no two of them can meet.\n",
    );
    const replayed = await check(file, "--replay", "0*9 1*9");
    expect(replayed).toMatchObject({ code: 1, stderr: "error: every task has ended\n" });
  });

  it("finds what an annotation hides from lockdep", async () => {
    using folder = scratch();
    const file = folder.file("nested.json");
    writeFileSync(
      file,
      abba(undefined).replace('["lock","A"],["unlock","A"]', '["lock_nested","A",1],["unlock","A"]'),
    );
    const { code, stdout } = await check(file);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^FAILED .*: deadlock, found in/m);
    expect(stdout).toContain("  lockdep check says clean: ");
  });

  it("says at which bound it was cut", async () => {
    const { code, stdout, stderr } = await check(
      ...[example, "--scenario", "ioctl-reset, callback after memory_lock", "--bound", "executions=3"],
    );
    expect(code).toBe(3); // neither proved nor failed
    expect(stderr).toBe("error: limits met: of 1 of 1 scenarios not every interleaving was run\n");
    expect(stdout).toMatch(
      /: limits met: no deadlock found in 3 executions, and there are more \(--bound executions=3\)$/m,
    );
  });

  it("prints everything as JSON", async () => {
    const { stdout } = await check(example, "--json");
    const results = JSON.parse(stdout) as Result[];
    expect(results.map(({ verdict, lockdep }) => [verdict, lockdep])).toEqual([
      ["deadlock", "cycle"],
      ["proved", "clean"],
      ["deadlock", "cycle"],
    ]);
    expect(results[0]).toMatchObject({ ok: true, exhausted: false, scenario: "ioctl-reset" });
    expect(results[0]!.tasks).toContain("a writer of mmap_lock");
    expect(results[0]!.lines!.filter(({ text }) => text.startsWith("!! "))).toHaveLength(5);
    expect(results[1]).toEqual({
      file: example,
      scenario: "ioctl-reset, callback after memory_lock",
      verdict: "proved",
      ok: true,
      executions: expect.any(Number) as number,
      exhausted: true,
      tasks: ["set_device_state", "data_read", "vfio_pin_dma", "vfio_pci_ioctl_reset"],
      lockdep: "clean",
    });
  });

  it("reports a wrong file as lockdep check does, and refuses wrong options", async () => {
    using folder = scratch();
    const file = folder.file("wrong.json");
    writeFileSync(file, abba(undefined).replace('"lock"', '"lokc"'));
    const [ours, lockdeps] = await Promise.all([check(file), Vfiokit.run("lockdep", "check", file)]);
    expect(ours).toEqual(lockdeps);
    expect(ours.stderr).toContain("wrong.json:1:");
    expect(await check(example, "--scenario", "none")).toMatchObject({ code: 2 });
    expect(await check(example, "--bound", "time=3")).toMatchObject({ code: 2 });
    expect(await check(example, "--replay", "0")).toMatchObject({ code: 2 });
    expect(await check(example, "--scenario", "ioctl-reset", "--replay", "what")).toMatchObject({ code: 2 });
    expect(await check(example, "--scenario", "ioctl-reset", "--replay", "+7 0")).toMatchObject({ code: 2 });
  });
});

describe("every row of Linux's locking self-test", () => {
  const scenarios = readdirSync(selftest).flatMap(
    (name) => parseProtocol(readFileSync(`${selftest}/${name}`, "utf8"), name).scenarios,
  );

  it("deadlocks here exactly where lockdep's own search has found an interleaving that hangs", async () => {
    for (const scenario of scenarios) {
      const result = await searchProtocol(scenario, {
        signal: new AbortController().signal,
        onProgress: () => undefined,
      });
      const hangs = result.lockdep.findings.some(({ schedule }) => schedule !== undefined);
      const found = { name: scenario.name, deadlock: result.verdict === "deadlock" };
      // Only a lock protocol that is used against its rules may be worse than lockdep's search says.
      if (result.lockdep.findings.every(({ problem }) => ["cycle", "recursion"].includes(problem.kind)))
        expect(found).toEqual({ name: scenario.name, deadlock: hangs });
      if (result.schedule === undefined) continue;
      const { verdict } = await replayProtocol(scenario, result.schedule);
      expect({ name: scenario.name, verdict }).toEqual({ name: scenario.name, verdict: result.verdict });
    }
    expect(scenarios.length).toBeGreaterThan(50);
  }, 60_000);
});
