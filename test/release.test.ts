import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The workspace's manifests and CHANGELOG, to release from. */
function workspace() {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-release-"));
  const packages = readdirSync(join(root, "packages"));
  for (const path of [
    "package.json",
    "CHANGELOG.md",
    ...packages.map((name) => `packages/${name}/package.json`),
  ])
    cpSync(join(root, path), join(folder, path));
  return {
    changelog: join(folder, "CHANGELOG.md"),
    manifest: (name: string) =>
      JSON.parse(readFileSync(join(folder, "packages", name, "package.json"), "utf8")) as {
        version: string;
        dependencies: Record<string, string>;
      },
    release: (version: string) =>
      spawnSync(process.execPath, [join(root, "scripts/release.js"), version], {
        cwd: folder,
        encoding: "utf8",
      }),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}

it("a release is one version for all packages, and a section of the CHANGELOG", () => {
  using work = workspace();
  expect(work.release("9.0.0-rc.1")).toMatchObject({ status: 0, stderr: "" });
  const { version, dependencies } = work.manifest("cli");
  expect(version).toBe("9.0.0-rc.1");
  expect(dependencies).toMatchObject({ "@vfiokit/core": "9.0.0-rc.1", "@vfiokit/lockdep": "9.0.0-rc.1" });
  expect(dependencies["commander"]).toMatch(/^\^/);
  expect(readFileSync(work.changelog, "utf8")).toMatch(
    /^## \[Unreleased\]\n\n## \[9\.0\.0-rc\.1\] - \d{4}-\d\d-\d\d\n\n### /m,
  );
});

it("a version that is none, one that is not newer, and a release without changes are refused", () => {
  using work = workspace();
  for (const version of ["", "1.2", "v1.2.3", "0.1.0", "0.0.9", "0.1.0-rc.1"])
    expect(work.release(version).status, version).toBe(2);
  expect(work.manifest("cli").version).toBe("0.1.0");
  writeFileSync(work.changelog, "# Changes\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- first\n");
  expect(work.release("0.2.0")).toMatchObject({
    status: 2,
    stderr: "CHANGELOG.md has nothing under [Unreleased]\n",
  });
});
