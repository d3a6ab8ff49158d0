// Draws docs/lab-report.png: a counterexample in the report of the laboratory, but for its last step.
//
//   node scripts/lab-report-picture.js
//
// Needs Chromium: /usr/bin/chromium, or $VFIOKIT_CHROMIUM.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const COMMAND = fileURLToPath(new URL("../packages/cli/bin/vfiokit.js", import.meta.url));
const PICTURE = fileURLToPath(new URL("../docs/lab-report.png", import.meta.url));
const COUNTEREXAMPLE = "counterexample-locked-no-deadlock";
const STEP = 9;

const folder = mkdtempSync(join(tmpdir(), "vfiokit-picture-"));
const file = join(folder, "report.html");
execFileSync(
  process.execPath,
  [COMMAND, "lab", "run", "--design", "locked", "--scenario", "quick", "--html", file],
  { stdio: ["ignore", "ignore", "inherit"] },
);

const browser = await chromium.launch({
  executablePath: process.env["VFIOKIT_CHROMIUM"] ?? "/usr/bin/chromium",
  // Chromium refuses its sandbox to root.
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
try {
  const page = await browser.newPage({ viewport: { width: 1040, height: 1400 } });
  await page.goto(`${pathToFileURL(file).href}#${COUNTEREXAMPLE}`);
  const row = page.locator(`#${COUNTEREXAMPLE} tbody tr`).nth(STEP - 1);
  await row.click();
  await page.locator(`#${COUNTEREXAMPLE}`).screenshot({ path: PICTURE });
} finally {
  await browser.close();
  rmSync(folder, { recursive: true });
}
