import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser } from "playwright-core";
import { afterAll, beforeAll, describe } from "vitest";

/** What distributions call it. */
const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The Chromium of this machine, or the reason why there is none. */
function findChromium(): string | { readonly missing: string } {
  const chosen = process.env["VFIOKIT_CHROMIUM"];
  if (chosen !== undefined)
    return isExecutable(chosen) ? chosen : { missing: `VFIOKIT_CHROMIUM="${chosen}" is no program` };
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
  return found ?? { missing: "no Chromium: apt install chromium, or set VFIOKIT_CHROMIUM" };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * `describe` for tests that need a browser: skipped, with one line that says why, where there is none; an error there
 * when VFIOKIT_REQUIRE_CHROMIUM=1, as in CI.
 */
export function describeWithChromium(name: string, body: (browser: () => Browser) => void): void {
  const found = findChromium();
  if (typeof found === "string") {
    describe(name, () => {
      let browser: Browser;
      beforeAll(async () => {
        // Chromium refuses its sandbox to root.
        const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
        browser = await chromium.launch({ executablePath: found, args });
      }, 60_000);
      afterAll(() => browser.close());
      body(() => browser);
    });
  } else if (process.env["VFIOKIT_REQUIRE_CHROMIUM"] === "1") {
    throw new Error(`VFIOKIT_REQUIRE_CHROMIUM=1, but ${found.missing}`);
  } else {
    process.stderr.write(`skipped: ${name}: ${found.missing}\n`);
    describe.skip(name, () => body(undefined as never));
  }
}
