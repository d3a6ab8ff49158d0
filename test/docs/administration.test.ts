import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, expect, it } from "vitest";
import { codeBlocks, root } from "./markdown.js";

// What docs/administration.md shows is what happens: its commands are run, one after the other, in a new directory.

const directory = mkdtempSync(join(tmpdir(), "vfiokit-docs-"));
const background: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const end of background) await end();
  rmSync(directory, { recursive: true });
});

/** Runs `vfiokit …`; behind an "&" it goes on, and what it has said when it is ready is its output. */
async function run(line: string, ready: RegExp): Promise<string> {
  const isBackground = line.endsWith(" &");
  const [name, ...args] = line.replace(/ &$/, "").split(" ");
  expect(name).toBe("vfiokit");
  const child = spawn(process.execPath, [`${root}/packages/cli/bin/vfiokit.js`, ...args], { cwd: directory });
  let output = "";
  child.stdout.on("data", (bytes: Buffer) => (output += bytes.toString()));
  if (!isBackground) {
    child.stderr.on("data", (bytes: Buffer) => (output += bytes.toString()));
    await once(child, "close");
    return output;
  }
  child.stderr.resume();
  const ended = once(child, "close");
  background.push(() => {
    child.kill("SIGTERM");
    return ended;
  });
  while (!ready.test(output)) await once(child.stdout, "data");
  return output;
}

/** "…" stands for anything. */
function pattern(text: string): RegExp {
  const parts = text.trimEnd().split("…");
  const escaped = parts.map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${escaped.join("[^]*")}\\s*$`);
}

it("docs/administration.md shows what the commands do", { timeout: 60_000 }, async () => {
  for (const { language, text, line } of codeBlocks("docs/administration.md")) {
    if (language === "console") {
      for (const [, command, shown] of text.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm))
        expect(await run(command!, pattern(shown!)), `line ${line}: ${command!}`).toMatch(pattern(shown!));
    } else if (language === "json") {
      const socket = connect(join(directory, "card.0.ctl"));
      const replies = createInterface(socket)[Symbol.asyncIterator]();
      const exchange = text.trimEnd().split("\n");
      for (let at = 0; at < exchange.length; at += 2) {
        socket.write(`${exchange[at]!}\n`);
        expect((await replies.next()).value, exchange[at]).toBe(exchange[at + 1]);
      }
      socket.destroy();
    }
  }
});
