import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { readFileSync, writeFileSync } from "node:fs";
import { lockdep, scratch } from "../support/command.js";

const path = (relative: string): string => fileURLToPath(new URL(`../../../../${relative}`, import.meta.url));
const example = path("examples/vfio-reset.yaml");
const splat = path("packages/lockdep/test/explain/splats/vfio-ioctl-reset.log");
const ABBA = `{"scenarios": [{"name": "ABBA", "locks": {"A": {"kind": "mutex", "class": "A"}, "B": {"kind": "rwsem"}},
  "tasks": [[["lock", "A"], ["write", "B"], ["unlock", "B"], ["unlock", "A"]], [["write", "B"], ["lock", "A"], ["unlock", "A"], ["unlock", "B"]]]`;

describe("lockdep check", () => {
  it("prints the verdicts and the reports; a file whose expectations hold is fine", () => {
    const { code, stdout } = lockdep(["check", example]);
    expect(code).toBe(0);
    expect(stdout).toContain(`ok ${example}: ioctl-reset: cycle\n`);
    expect(stdout).toContain("  &vdev->state_mutex --> &mm->mmap_lock --> &vdev->memory_lock\n");
    expect(stdout).toContain("ok " + example + ": ioctl-reset, callback after memory_lock: clean\n");
  });

  it("exits 1 on a problem that is not expected, and on a file that is wrong, with line and column", () => {
    using folder = scratch();
    const file = folder.file("abba.json");
    writeFileSync(file, `${ABBA}}]}`);
    const problem = lockdep(["check", file]);
    expect(problem).toMatchObject({ code: 1, stderr: "error: 1 of 1 scenarios: not the expected verdict\n" });
    expect(problem.stdout).toContain("possible circular locking dependency detected");
    writeFileSync(file, `${ABBA}, "expect": "cycle"}]}`);
    expect(lockdep(["check", file])).toMatchObject({ code: 0 });
    writeFileSync(file, ABBA.replace('"lock", "A"', '"lokc", "A"') + "}]}");
    const wrong = lockdep(["check", file]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain(`error: ${file}:2:15: scenarios.0.tasks.0.0.0: `);
    expect(lockdep(["check", folder.file("none")]).stderr).toContain("ENOENT");
  });

  it("prints JSON, DOT, Mermaid, SVG and a model for SPIN", () => {
    const check = (...options: string[]) => lockdep(["check", example, ...options]);
    const [json, dot, mermaid, svg, promela] = [
      check("--json"),
      check("--dot"),
      check("--mermaid"),
      check("--svg"),
      check("--promela", "--scenario", "ioctl-reset"),
    ] as const;
    const results = JSON.parse(json.stdout) as {
      verdict: string;
      problems: { cheapestToBreak: unknown }[];
    }[];
    expect(results.map((result) => result.verdict)).toEqual(["cycle", "clean", "cycle"]);
    expect(results[0]!.problems[0]!.cheapestToBreak).toMatchObject({
      from: "&vdev->memory_lock",
      to: "&vdev->state_mutex",
    });
    expect(dot.stdout).toMatch(/^digraph lockdep \{/);
    expect(mermaid.stdout).toMatch(/^flowchart LR/);
    expect(svg.stdout).toContain("<svg");
    expect(svg.stdout).toContain("vdev&#45;&gt;memory_lock");
    expect(promela.stdout).toContain("active proctype t3_vfio_pci_ioctl_reset()");
  });

  it("refuses to put several scenarios into one model, and an unknown scenario", () => {
    expect(lockdep(["check", example, "--promela"])).toMatchObject({ code: 2 });
    expect(lockdep(["check", example, "--scenario", "none"])).toMatchObject({ code: 2 });
    expect(lockdep(["check", example, "--svg", "--dot"])).toMatchObject({ code: 2 });
  });
});

describe("lockdep explain", () => {
  it("says what a kernel's report means", () => {
    const { code, stdout } = lockdep(["explain", splat]);
    expect(code).toBe(0);
    expect(stdout).toContain("data_read reads &mm->mmap_lock while it holds &migf->lock");
    expect(stdout).toContain("Cheapest to break: &vdev->memory_lock -> &vdev->state_mutex");
  });

  it("reads standard input, and draws", () => {
    const { code, stdout } = lockdep(["explain", "-", "--dot"], {
      input:
        "[    1.0] WARNING: possible recursive locking detected\n[    1.0] t/1 is trying to acquire lock:\n[    1.0] (a){+.+.}, at: f+0x1/0x2\n[    1.0] but task is already holding lock:\n[    1.0] (a){+.+.}, at: f+0x1/0x2\n",
    });
    expect(code).toBe(0);
    expect(stdout).toContain('"a" -> "a"');
  });

  it("reads what a terminal of Windows has saved: UTF-16, with a byte order mark", () => {
    using folder = scratch();
    const log = folder.file("log");
    writeFileSync(log, `\ufeff${readFileSync(splat, "utf8").replaceAll("\n", "\r\n")}`, "utf16le");
    expect(lockdep(["explain", log]).stdout).toBe(lockdep(["explain", splat]).stdout);
  });

  it("exits 1 if there is no report", () => {
    const { code, stderr } = lockdep(["explain", "-"], { input: "nothing\n" });
    expect(code).toBe(1);
    expect(stderr).toBe("error: -: no report of lockdep in it\n");
  });
});
