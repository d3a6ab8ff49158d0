import {
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
  existsSync,
  renameSync,
} from "node:fs";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  connectUnix,
  createMemfd,
  peerCredentials,
  Receiver,
  sendBytes,
  shutdownSocket,
  socketPair,
  StableBuffer,
  UnixListener,
  WOULD_BLOCK,
} from "@vfiokit/user/linux";
import { describe, expect, it } from "vitest";
import { exhaustFds, kernelResources, ownResources, temporaryDirectory } from "./support.js";

const directory = temporaryDirectory();
let nextName = 0;
const freshPath = () => join(directory, `${nextName++}.sock`);

function text(bytes: Uint8Array, count: number): string {
  return Buffer.from(bytes.subarray(0, count)).toString();
}

function bufferOf(content: string): StableBuffer {
  const buffer = new StableBuffer(content.length);
  buffer.bytes.set(Buffer.from(content));
  return buffer;
}

describe("UnixListener", () => {
  it("accepts what connects, without waiting for it", () => {
    using listener = new UnixListener(freshPath());
    expect(listener.accept()).toBeUndefined();
    using client = connectUnix(listener.path);
    using server = listener.accept()!;
    writeSync(client.number, "hello");
    const buffer = new StableBuffer(16);
    expect(new Receiver(buffer).receive(server, 0, 16)).toBe(5);
    expect(text(buffer.bytes, 5)).toBe("hello");
  });

  it("of servers that start at once where a dead one's socket lies, one gets it and the others are told", async () => {
    const module = fileURLToPath(new URL("../../dist/linux/index.js", import.meta.url));
    const program = `
      import { UnixListener } from ${JSON.stringify(module)};
      process.stdout.write("ready\\n");
      process.stdin.once("data", (path) => {
        try {
          globalThis.listener = new UnixListener(path.toString());
          process.stdout.write("listens\\n");
        } catch (error) {
          process.stdout.write(error.code + "\\n");
        }
      });`;
    const servers = Array.from({ length: 6 }, () =>
      spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["pipe", "pipe", "inherit"] }),
    );
    try {
      for (const server of servers) await once(server.stdout, "data");
      const path = freshPath();
      spawnSync(process.execPath, [
        "-e",
        `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`,
      ]);
      expect(existsSync(path)).toBe(true);
      for (const server of servers) server.stdin.write(path);
      const said = await Promise.all(servers.map((server) => once(server.stdout, "data")));
      const words = said.map((chunk) => String(chunk).trim()).sort();
      expect(words).toEqual([...Array<string>(5).fill("EADDRINUSE"), "listens"]);
      connectUnix(path).close();
    } finally {
      for (const server of servers) server.kill("SIGKILL");
    }
  });

  it("makes a socket that only its user may connect to, whatever the umask", () => {
    const before = process.umask(0);
    try {
      using listener = new UnixListener(freshPath());
      expect(statSync(listener.path).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(before);
    }
  });

  it("replaces the socket of a dead server", () => {
    const path = freshPath();
    const dead = new UnixListener(path);
    dead.fd.close();
    expect(statSync(path).isSocket()).toBe(true);
    using listener = new UnixListener(path);
    connectUnix(path).close();
    listener.accept()?.close();
  });

  it("refuses a path where somebody listens, and leaves that server alone", () => {
    using first = new UnixListener(freshPath());
    expect(() => new UnixListener(first.path)).toThrow("EADDRINUSE");
    connectUnix(first.path).close();
  });

  it("refuses a path where somebody listens whose backlog is full", () => {
    using first = new UnixListener(freshPath(), 0);
    using _waiting = connectUnix(first.path);
    expect(() => connectUnix(first.path)).toThrow("EAGAIN");
    expect(() => new UnixListener(first.path)).toThrow("EADDRINUSE");
    expect(existsSync(first.path)).toBe(true);
  });

  it("refuses a path that holds something else, and leaves it alone", () => {
    const file = freshPath();
    writeFileSync(file, "precious");
    expect(() => new UnixListener(file)).toThrow(`EADDRINUSE: ${file} exists and is no socket`);
    const link = freshPath();
    symlinkSync(file, link);
    expect(() => new UnixListener(link)).toThrow("EADDRINUSE");
    expect(readFileSync(file, "utf8")).toBe("precious");
  });

  it("removes its file when it closes, but nobody else's", () => {
    const listener = new UnixListener(freshPath());
    listener.close();
    listener.close();
    expect(existsSync(listener.path)).toBe(false);

    const moved = new UnixListener(freshPath());
    renameSync(moved.path, `${moved.path}.old`);
    using successor = new UnixListener(moved.path);
    moved.close();
    expect(existsSync(successor.path)).toBe(true);
  });

  it("names the limit of a path that is too long", () => {
    expect(() => new UnixListener("/tmp/" + "x".repeat(103))).toThrow("at most 107");
    expect(() => connectUnix("/tmp/" + "x".repeat(103))).toThrow("ENAMETOOLONG");
    expect(() => connectUnix("")).toThrow("ENOENT");
  });

  it("says why it cannot connect", () => {
    expect(() => connectUnix(join(directory, "nobody"))).toThrow(/^connect: ENOENT/);
    const path = freshPath();
    new UnixListener(path).fd.close();
    expect(() => connectUnix(path)).toThrow(/^connect: ECONNREFUSED/);
  });

  it("knows who connected", () => {
    using listener = new UnixListener(freshPath());
    using _client = connectUnix(listener.path);
    using server = listener.accept()!;
    expect(peerCredentials(server)).toEqual({
      pid: process.pid,
      uid: process.getuid!(),
      gid: process.getgid!(),
    });
  });

  it("leaves nothing behind when it fails", () => {
    const before = kernelResources();
    expect(() => new UnixListener(join(directory, "missing", "x.sock"))).toThrow("ENOENT");
    expect(kernelResources()).toEqual(before);
  });
});

describe("messages", () => {
  it("arrive in order; nothing, the end and a broken stream are told apart", () => {
    const [a, b] = socketPair();
    const buffer = new StableBuffer(64);
    const receiver = new Receiver(buffer);
    expect(receiver.receive(b, 0, 64)).toBe(WOULD_BLOCK);
    expect(sendBytes(a, bufferOf("one"), 0, 3)).toBe(3);
    expect(sendBytes(a, bufferOf("-two-"), 1, 3)).toBe(3);
    expect(receiver.receive(b, 10, 54)).toBe(6);
    expect(text(buffer.bytes.subarray(10), 6)).toBe("onetwo");
    a.close();
    expect(receiver.receive(b, 0, 64)).toBe(0);
    expect(() => sendBytes(b, bufferOf("x"), 0, 1)).toThrow("EPIPE");
    b.close();
  });

  it("tell how much was taken when the peer does not read", () => {
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    const big = new StableBuffer(1 << 22);
    const taken = sendBytes(a, big, 0, 1 << 22);
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(1 << 22);
    let last = taken;
    while (last > 0) last = sendBytes(a, big, 0, 1 << 22);
    expect(last).toBe(WOULD_BLOCK);
  });

  it("end for both sides when one shuts down", () => {
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    shutdownSocket(a);
    expect(new Receiver(new StableBuffer(1)).receive(b, 0, 1)).toBe(0);
  });

  it("carry descriptors: the same open file, closed on exec", () => {
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    using file = createMemfd("passed", 16);
    writeSync(file.number, "in the file", 0);
    sendBytes(a, bufferOf("take this"), 0, 9, [file.number]);
    const receiver = new Receiver(new StableBuffer(64));
    expect(receiver.receive(b, 0, 64)).toBe(9);
    expect(receiver.hasFds).toBe(true);
    const { fds, truncated } = receiver.takeFds();
    expect(truncated).toBe(false);
    expect(fds.length).toBe(1);
    using received = fds[0]!;
    const content = Buffer.alloc(11);
    readSync(received.number, content, 0, 11, 0);
    expect(content.toString()).toBe("in the file");
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${received.number}`, "utf8"))![1]!;
    expect(parseInt(flags, 8) & 0o2000000).not.toBe(0);
    expect(receiver.hasFds).toBe(false);
  });

  it("with descriptors end a receive call, so that they belong to its last bytes", () => {
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    using file = createMemfd("passed", 16);
    sendBytes(a, bufferOf("first"), 0, 5);
    sendBytes(a, bufferOf("second"), 0, 6, [file.number]);
    sendBytes(a, bufferOf("third"), 0, 5);
    const receiver = new Receiver(new StableBuffer(64));
    let count = receiver.receive(b, 0, 64);
    if (count === 5) count += receiver.receive(b, 5, 59);
    expect(count).toBe(11);
    expect(receiver.hasFds).toBe(true);
    expect(receiver.receive(b, 11, 53)).toBe(5);
    receiver.close();
  });

  it("carry as many as the kernel allows, and those that nobody takes are closed", () => {
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    using file = createMemfd("many", 16);
    const before = ownResources();
    sendBytes(a, bufferOf("x"), 0, 1, Array<number>(253).fill(file.number));
    expect(() => sendBytes(a, bufferOf("x"), 0, 1, Array<number>(254).fill(file.number))).toThrow(RangeError);
    const receiver = new Receiver(new StableBuffer(8));
    receiver.receive(b, 0, 8);
    expect(ownResources().fds).toBe(before.fds + 253);
    receiver.close();
    expect(ownResources()).toEqual(before);
  });

  it("whose descriptors do not fit into this process's table say so", () => {
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    using file = createMemfd("many", 16);
    const receiver = new Receiver(new StableBuffer(8));
    const before = ownResources();
    sendBytes(a, bufferOf("x"), 0, 1, [file.number, file.number, file.number]);
    const restore = exhaustFds();
    try {
      expect(receiver.receive(b, 0, 8)).toBe(1);
    } finally {
      restore();
    }
    const { fds, truncated } = receiver.takeFds();
    expect({ fds, truncated }).toEqual({ fds: [], truncated: true });
    expect(ownResources()).toEqual(before);
  });
});

describe("StableBuffer", () => {
  it("keeps its address through garbage collections", () => {
    const buffer = new StableBuffer(32);
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    const garbage: unknown[] = [];
    for (let i = 0; i < 100_000; i++) garbage.push({ i });
    buffer.bytes.set(Buffer.from("still here"));
    sendBytes(a, buffer, 0, 10);
    const other = new StableBuffer(32);
    new Receiver(other).receive(b, 0, 32);
    expect(text(other.bytes, 10)).toBe("still here");
    expect(garbage.length).toBe(100_000);
  });
});
