import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { VfioUserClient } from "@vfiokit/user";
import { scratch } from "./vfiokit.js";

const BIN = fileURLToPath(new URL("../bin/vfiokit.js", import.meta.url));

it("a standard error that nobody reads does not stop the service: lines are dropped, and counted", async () => {
  using dir = scratch();
  const path = dir.file("s");
  const args = ["serve", "counter", "--functions", "1", "--log-level", "debug", "--socket-path", path];
  const server = spawn(process.execPath, [BIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(server, "close");
  await once(server.stdout, "data");
  const client = await VfioUserClient.connect(path, { timeoutMs: 10_000 });
  try {
    // Each refusal is a line of 200 bytes; a pipe and Node's buffers hold a few hundred KiB.
    for (let n = 0; n < 5000; n++)
      await expect(client.regionRead(0, 0, new Uint8Array(4))).rejects.toMatchObject({ code: "EIO" });
    let text = "";
    server.stderr.setEncoding("utf8").on("data", (part: string) => (text += part));
    const line = /"msg":"(\d+) lines of the log were dropped: nobody read standard error"/;
    await expect
      .poll(async () => {
        await client.regionRead(0, 0, new Uint8Array(4)).catch(() => undefined);
        return line.exec(text)?.[1];
      })
      .toMatch(/^\d+$/);
  } finally {
    client.close();
    server.kill("SIGTERM");
    await ended;
  }
}, 60_000);
