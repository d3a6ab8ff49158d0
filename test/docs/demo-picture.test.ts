import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { root } from "./markdown.js";

/** What is printed, without what differs from run to run: numbers with their units, and names of temporary folders. */
function constant(text: string): string {
  return text
    .replaceAll(/vfiokit-demo-\w+/g, "FOLDER")
    .replaceAll(/\d+(\.\d+)?( (µs|ms|s|[kM]?B\/s)\b)?/g, "N")
    .trim();
}

it("docs/demo.svg shows what npm start prints (node scripts/capture.js draws it anew)", () => {
  const picture = readFileSync(`${root}/docs/demo.svg`, "utf8");
  const drawn = [...picture.matchAll(/<text [^>]*>(.*)<\/text>/g)]
    .map(([, line]) => line!.replaceAll(/<[^>]+>/g, ""))
    .map((line) => line.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&"))
    .slice(2)
    .join("\n");
  const printed = execFileSync(process.execPath, ["packages/cli/bin/vfiokit.js", "demo"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  expect(constant(drawn)).toBe(constant(printed));
}, 60_000);
