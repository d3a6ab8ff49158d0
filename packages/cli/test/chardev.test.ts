import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  openSync,
  readSync,
  closeSync,
  readFileSync,
  rmSync,
  writeSync,
  statSync,
} from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pino } from "pino";
import { uartRegisters as reg } from "@vfiokit/devices";
import { openFds } from "@vfiokit/user/linux";
import { chardevSyntax, openChardev, parseChardev, type Chardev } from "../src/chardev/index.js";
import { CommandError, UsageError } from "../src/errors.js";
import { Driver, nextTurn, pattern } from "./driver.js";

const log = pino({ level: "silent" });
const KIB = 1024;

let directory: string;
let driver: Driver | undefined;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "chardev-"))));
afterEach(async () => {
  await driver?.close();
  driver = undefined;
  rmSync(directory, { recursive: true });
});

async function plug(spec: string): Promise<{ chardev: Chardev; driver: Driver }> {
  const chardev = await openChardev(parseChardev(spec), log);
  driver = new Driver(chardev.backend);
  return { chardev, driver };
}

describe("what can be asked for", () => {
  it.each([
    ["serial", `chardev "serial": must be one of ${chardevSyntax}`],
    ["unix", 'chardev "unix": needs a path, as in unix:PATH'],
    ["unix:", 'chardev "unix:": needs a path, as in unix:PATH'],
    ["pty:/dev/pts/3", 'chardev "pty:/dev/pts/3": pty takes no argument'],
  ])("not %j", (text, message) => {
    expect(() => parseChardev(text)).toThrow(new UsageError(message));
  });

  it("a path may hold colons", () => {
    expect(parseChardev("file:a:b").argument).toBe("a:b");
  });
});

describe("unix", () => {
  async function peerOf(chardev: Chardev): Promise<Socket> {
    const socket = connect(chardev.path!);
    await once(socket, "connect");
    return socket;
  }

  async function take(socket: Socket, count: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let length = 0;
    while (length < count) {
      const [piece] = (await once(socket, "data")) as [Buffer];
      pieces.push(piece);
      length += piece.length;
    }
    return Buffer.concat(pieces);
  }

  it("carries 256 KiB each way at the same time, unchanged", async () => {
    const { chardev, driver } = await plug(`unix:${directory}/tty`);
    const peer = await peerOf(chardev);
    const up = pattern(256 * KIB);
    const down = pattern(256 * KIB).reverse();
    peer.write(down);
    const [taken, received] = await Promise.all([
      take(peer, up.length),
      driver.receive(down.length),
      driver.send(up),
    ]);
    expect(taken.equals(up)).toBe(true);
    expect(Buffer.from(received).equals(down)).toBe(true);
    peer.destroy();
  });

  it("keeps what is sent before somebody connects, and then makes the card wait", async () => {
    const { chardev, driver } = await plug(`unix:${directory}/tty`);
    const text = pattern(80 * KIB);
    const sending = driver.send(text);
    while (!(await driver.isHeldUp()));
    const peer = await peerOf(chardev);
    const [taken] = await Promise.all([take(peer, text.length), sending]);
    expect(taken.equals(text)).toBe(true);
    peer.destroy();
  });

  it("serves the next peer after the first has gone, and one at a time", async () => {
    const { chardev, driver } = await plug(`unix:${directory}/tty`);
    const first = await peerOf(chardev);
    first.write("1");
    await driver.receive(1);
    const second = await peerOf(chardev);
    await once(second, "close"); // turned away
    first.destroy();
    await once(first, "close");
    await nextTurn();
    const third = await peerOf(chardev);
    third.write("3");
    expect(await driver.receive(1)).toEqual(Uint8Array.of(0x33));
    await driver.send(Uint8Array.of(0x34));
    expect(await take(third, 1)).toEqual(Buffer.from("4"));
    third.destroy();
  });

  it("replaces the socket of a dead program, and removes its own at the end", async () => {
    const path = join(directory, "tty");
    const { spawnSync } = await import("node:child_process");
    spawnSync(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`,
    ]);
    expect(existsSync(path)).toBe(true);
    const { chardev, driver: plugged } = await plug(`unix:${path}`);
    (await peerOf(chardev)).destroy();
    await plugged.close();
    driver = undefined;
    await nextTurn();
    expect(existsSync(path)).toBe(false);
  });

  it("makes its socket for this user only, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const { chardev } = await plug(`unix:${directory}/tty`);
      expect(statSync(chardev.path!).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(before);
    }
  });

  it("does not take the socket of a program that listens there", async () => {
    const path = join(directory, "tty");
    const other = createServer().listen(path);
    await once(other, "listening");
    await expect(plug(`unix:${path}`)).rejects.toThrow(CommandError);
    other.close();
  });
});

describe("pty", () => {
  it("carries 64 KiB each way, unchanged: it is a raw terminal", async () => {
    const { chardev, driver } = await plug("pty");
    const terminal = openSync(chardev.path!, "r+");
    const text = pattern(64 * KIB);

    // This process plays both ends: never more at once than the terminal holds.
    const buffer = Buffer.alloc(1024);
    for (let at = 0; at < text.length; at += buffer.length) {
      const piece = text.subarray(at, at + buffer.length);
      writeSync(terminal, piece);
      expect(await driver.receive(piece.length)).toEqual(piece);

      await driver.send(piece);
      while (!(driver.read(reg.LSR) & reg.LSR_TEMT)) await nextTurn();
      await nextTurn();
      for (let got = 0; got < piece.length;) got += readSync(terminal, buffer, got, piece.length - got, null);
      expect(buffer.equals(piece)).toBe(true);
    }
    closeSync(terminal);
  });

  it("makes the card wait while nobody reads, and closes all it opened", async () => {
    const before = openFds();
    const { driver: plugged } = await plug("pty");
    const sending = plugged.send(pattern(128 * KIB)).catch(() => undefined);
    while (!(await plugged.isHeldUp()));
    void sending;
    await plugged.close();
    driver = undefined;
    expect(openFds()).toBe(before);
  });
});

describe("file", () => {
  it("holds what was sent, and nothing of what was there before", async () => {
    const path = join(directory, "out");
    const text = pattern(100 * KIB);
    const { driver: plugged } = await plug(`file:${path}`);
    await plugged.send(text);
    await plugged.close();
    driver = undefined;
    while (readFileSync(path).length < text.length) await nextTurn();
    expect(readFileSync(path).equals(text)).toBe(true);
  });

  it("says what is wrong with a path", async () => {
    await expect(plug(`file:${directory}/no/such`)).rejects.toThrow(/ENOENT/);
  });
});

it("loopback returns what is sent; null takes it", async () => {
  const looped = await plug("loopback");
  await looped.driver.send(Uint8Array.of(1, 2, 3));
  expect(await looped.driver.receive(3)).toEqual(Uint8Array.of(1, 2, 3));
  const nothing = await plug("null");
  await nothing.driver.send(pattern(KIB));
  expect(nothing.driver.read(reg.LSR)).toBe(reg.LSR_THRE | reg.LSR_TEMT);
});
