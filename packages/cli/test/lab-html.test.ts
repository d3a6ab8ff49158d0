import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { scratch, Vfiokit } from "./vfiokit.js";

const run = (file: string, ...more: string[]) =>
  Vfiokit.run(
    "lab",
    "run",
    "--scenario",
    "ioctl/fails/one/read",
    "--design",
    "callback",
    "--html",
    file,
    ...more,
  );

// Each starts the command several times, beside whatever else the machine tests.
describe("vfiokit lab run --html", { timeout: 60_000 }, () => {
  it("writes the report, says where, and leaves nothing else behind", async () => {
    using folder = scratch();
    const file = folder.file("re port.html");
    const { code, stdout, stderr } = await run(file);
    expect({ code, stderr }).toEqual({ code: 0, stderr: `report: ${pathToFileURL(file).href}\n` });
    expect(stdout).toContain("no-spurious-reset");
    expect(readdirSync(folder.path)).toEqual(["re port.html"]);
    const html = readFileSync(file, "utf8");
    expect(html).toMatch(/^<!doctype html>/);
    expect(html).toMatch(/<\/html>\n$/);
    expect(html).toContain('href="#counterexample-callback-no-spurious-reset"');
  });

  it("takes the place of an older report, and keeps standard output for --json", async () => {
    using folder = scratch();
    const file = folder.file("report.html");
    writeFileSync(file, "older");
    const { stdout } = await run(file, "--json", "--bound", "executions=1");
    expect(JSON.parse(stdout)).toHaveProperty("matrix.callback");
    expect(readFileSync(file, "utf8")).toContain("Bounded: at most 1 execution of a scenario");
  });

  it("refuses what is no place for a file, before it runs anything", async () => {
    using folder = scratch();
    mkdirSync(folder.file("directory"));
    symlinkSync(folder.file("elsewhere"), folder.file("link"));
    for (const [name, message] of [
      ["directory", 'directory": a directory; the report is a file'],
      ["link", 'link": not a regular file'],
      ["missing/report.html", `there is no directory ${folder.file("missing")}`],
    ] as const) {
      const { code, stdout, stderr } = await run(folder.file(name));
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toContain(message);
    }
    expect(readdirSync(folder.path).sort()).toEqual(["directory", "link"]);
  });
});
