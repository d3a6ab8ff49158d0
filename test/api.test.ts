import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

// The reports in api/ are read in reviews: what a package exports changes only together with its report.

const root = fileURLToPath(new URL("..", import.meta.url));

it("the API reports are those of the packages: npm run api", () => {
  const { status, stderr } = spawnSync("node", ["scripts/api-report.js", "--check"], {
    cwd: root,
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
}, 60_000);

it("a device author finds at most 80 names in @vfiokit/core", () => {
  const report = readFileSync(new URL("../api/core.api.md", import.meta.url), "utf8");
  const count = Number(/^## @vfiokit\/core\n\n(\d+) names\./m.exec(report)?.[1]);
  expect(count).toBeGreaterThan(0);
  expect(count).toBeLessThanOrEqual(80);
});
