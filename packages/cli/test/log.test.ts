import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { VfioUserClient } from "@vfiokit/user";
import { scratch, Vfiokit } from "./vfiokit.js";

const BIN = fileURLToPath(new URL("../bin/vfiokit.js", import.meta.url));

/** Says what the other side closes the connection for, and waits until it does. */
async function closedFor(socket: Socket, bytes: Uint8Array): Promise<void> {
  socket.on("error", () => undefined).resume();
  socket.write(bytes);
  await once(socket, "close");
}

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

it("a relay's standard error that nobody reads does not stop the relay: lines are dropped, and counted", async () => {
  using dir = scratch();
  await using server = Vfiokit.start([
    "serve",
    "counter",
    "--functions",
    "1",
    "--socket-path",
    dir.file("s"),
  ]);
  await server.says(/\n/);
  const path = dir.file("relay");
  const args = ["relay", "--listen", path, "--connect", dir.file("s"), "--log-level", "debug"];
  const relay = spawn(process.execPath, [BIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(relay, "close");
  await once(relay.stdout, "data");
  // Each whose first message is none is disconnected, which is two lines.
  const comeAndGo = () => closedFor(connect(path), new Uint8Array(16));
  try {
    for (let n = 0; n < 4000; n++) await comeAndGo();
    using client = await VfioUserClient.connect(path, { timeoutMs: 10_000 });
    expect((await client.getInfo()).numRegions).toBe(9);
    client.close();
    let text = "";
    relay.stderr.setEncoding("utf8").on("data", (part: string) => (text += part));
    const line = /(\d+) lines of the log were dropped: nobody read standard error/;
    await expect
      .poll(async () => {
        await comeAndGo();
        return line.exec(text)?.[1];
      })
      .toMatch(/^\d+$/);
  } finally {
    relay.kill("SIGTERM");
    await ended;
  }
}, 60_000);

it("a receiver's output that nobody reads does not stop the receiver", async () => {
  using dir = scratch();
  await using server = Vfiokit.start(["serve", "memory-card", "--socket-path", dir.file("s")]);
  await server.says(/\n/);
  const args = ["receive", "--listen", "tls://127.0.0.1:0", "--to", `card=${dir.file("s")}`];
  const receiver = spawn(process.execPath, [BIN, ...args, "--insecure-loopback"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = once(receiver, "close");
  const [first] = (await once(receiver.stdout, "data")) as [Buffer];
  receiver.stdout.pause();
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(first.toString())![1]);
  // Each is refused for what it says, which is a line of 90 bytes.
  const comeAndGo = () => closedFor(connect(port, "127.0.0.1"), new Uint8Array(64).fill(1));
  try {
    for (let n = 0; n < 4000; n++) await comeAndGo();
    let text = "";
    receiver.stdout
      .setEncoding("utf8")
      .on("data", (part: string) => (text += part))
      .resume();
    await expect
      .poll(async () => {
        await comeAndGo();
        return text.split(" was refused: ").length;
      })
      .toBeGreaterThan(100);
  } finally {
    receiver.kill("SIGTERM");
    await ended;
  }
}, 60_000);
