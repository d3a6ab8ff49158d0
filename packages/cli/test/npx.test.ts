import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { serveCard } from "./migrate/card.js";
import { scratch } from "./vfiokit.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** Starts a command as users do, and waits until its socket is there. */
async function npx(socket: string, ...args: string[]) {
  const child = spawn("npx", ["vfiokit", ...args], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (bytes: Buffer) => (said += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (said += bytes.toString()));
  while (!said.includes(socket)) {
    if (child.exitCode !== null) throw new Error(said);
    await once(child.stdout, "data");
  }
  return child;
}

it.each(["relay", "serve"])(
  "npx vfiokit %s: SIGTERM for npx ends it, and removes its sockets",
  async (command) => {
    using dir = scratch();
    const [card, socket] = [dir.file("card"), dir.file("s")];
    await using server = await serveCard(card);
    const args =
      command === "relay"
        ? ["relay", "--listen", socket, "--connect", card]
        : ["serve", "memory-card", "--size", "1M", "--socket-path", socket];
    const child = await npx(socket, ...args);
    expect(existsSync(socket)).toBe(true);
    // The streams are closed when the last one that has them has ended: npx, its shell, and the command.
    const ended = once(child, "close");
    child.kill("SIGTERM");
    await ended;
    expect([existsSync(socket), existsSync(`${socket}.ctl`)]).toEqual([false, false]);
    expect(await server.kill("SIGTERM")).toBe(0);
  },
);
