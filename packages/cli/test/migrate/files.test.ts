import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createGunzip, createGzip } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeStream } from "@vfiokit/core/migration";
import { crc32c } from "../../../core/src/migration/crc32c.js";
import { VfioUserClient } from "@vfiokit/user";
import { hasZstd } from "../../src/migrate/compression.js";
import type { FileCodec } from "../../src/shared/codecs.js";
import { CONTAINER_HEADER, containerCodec, encodeContainerHeader } from "../../src/shared/container.js";
import { ImageFile } from "../../src/shared/image-file.js";
import { openImage } from "../../src/shared/image-input.js";
import { scratch, Vfiokit } from "../vfiokit.js";
import { fillCard, phaseOf, serveCard, sumOfCard } from "./card.js";

const RUNNING = { phase: "none", state: "RUNNING" };

describe("vfiokit save, restore, stream", () => {
  const dir = scratch();
  const [card, other, image] = [dir.file("card"), dir.file("other"), dir.file("image")];
  let servers: Vfiokit[] = [];
  let sum = 0;

  beforeAll(async () => {
    servers = await Promise.all([serveCard(card), serveCard(other)]);
    sum = await fillCard(card, 5);
  }, 60_000);
  afterAll(async () => {
    for (const server of servers) await server.kill("SIGTERM");
    dir[Symbol.dispose]();
  });

  it("a device's state goes to a file, and to another device", async () => {
    const saved = await Vfiokit.run("save", card, image, "--compression", "none");
    expect(saved).toMatchObject({ code: 0, stderr: "" });
    expect(saved.stdout).toMatch(/^saved 1b36:0103 .*: 1\.\d MiB; it was stopped for [\d.]+ m?s\n$/);
    expect(await phaseOf(card)).toEqual(RUNNING);
    expect(await sumOfCard(card)).toBe(sum);
    const restored = await Vfiokit.run("restore", image, other);
    expect([restored.code, restored.stdout]).toEqual([
      0,
      expect.stringMatching(/^restored \S+\/other: 1\.\d MiB\n$/),
    ]);
    expect(await phaseOf(other)).toEqual(RUNNING);
    expect(await sumOfCard(other)).toBe(sum);
  }, 60_000);

  it("the file is its owner's, and nothing else is left beside it", () => {
    expect(statSync(image).mode & 0o777).toBe(0o600);
    expect(readdirSync(dir.path).sort()).toEqual(["card", "card.ctl", "image", "other", "other.ctl"]);
  });

  it("stream: what is in it, from a file or from standard input", async () => {
    const { code, stdout } = await Vfiokit.run("stream", image);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^device +1b36:0103 subsystem .*\nformat +\d\ngeneration +0\nstream id +[0-9a-f]{32}\n/,
    );
    expect(stdout).toMatch(/^memory +1 +1 MiB +1 MiB/m);
    expect(stdout).toMatch(/\nvalid: every checksum, number and count is right\n$/);

    await using command = Vfiokit.start(["stream", "-", "--json"]);
    command.stdin.end(readFileSync(image));
    expect(await command.ended).toBe(0);
    expect(JSON.parse(command.stdout)).toMatchObject({
      valid: true,
      begins: 1,
      bytes: statSync(image).size,
      begin: { generation: 0, identity: { vendor: 0x1b36, device: 0x0103 } },
    });
  }, 60_000);

  it("a damaged file: where, which rule; and no device takes it", async () => {
    const before = await fillCard(other, 9);
    const damaged = dir.file("damaged");
    const bytes = readFileSync(image);
    bytes[bytes.length >> 1]! ^= 0x10;
    writeFileSync(damaged, bytes);
    const described = await Vfiokit.run("stream", damaged);
    expect(described.code).toBe(1);
    expect(described.stdout).toMatch(/\nat byte \d+: checksum does not match \(damaged\)\n$/);
    expect(described.stderr).toBe(`error: ${damaged}: a device would refuse this stream\n`);
    const restored = await Vfiokit.run("restore", damaged, other);
    expect(restored.code).toBe(1);
    expect(restored.stderr).toMatch(
      /damaged: at byte \d+: checksum does not match \(damaged\); \S+\/other is untouched\n$/,
    );
    expect(await sumOfCard(other)).toBe(before);
  }, 60_000);

  it("of another device: both are named, and it is untouched", async () => {
    await using serial = Vfiokit.start([
      "serve",
      "serial",
      "--socket-path",
      dir.file("serial"),
      "--chardev",
      "null",
    ]);
    await serial.says(/\n/);
    const { code, stderr } = await Vfiokit.run("restore", image, dir.file("serial"));
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(
        /image is of another device: 1b36:0103 .*; at \S+serial is 1b36:0002 .*, which is untouched\n$/,
      ),
    ]);
    await serial.kill("SIGTERM");
  }, 60_000);

  it("what no vfiokit has written is refused, and the device runs on", async () => {
    const before = await fillCard(other, 11);
    const foreign = dir.file("foreign");
    writeFileSync(foreign, "libvfio-user's own");
    const { code, stderr } = await Vfiokit.run("restore", foreign, other);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(
        /foreign: .*is no vfiokit migration stream \(not-a-stream\); \S+\/other is untouched/,
      ),
    ]);
    expect(await sumOfCard(other)).toBe(before);
    expect(await phaseOf(other)).toEqual(RUNNING);
  }, 60_000);

  it("restore from a FIFO and from standard input: the input is read once", async () => {
    const fifo = dir.file("fifo");
    execFileSync("mkfifo", [fifo]);
    await fillCard(other, 13);
    await using restoring = Vfiokit.start(["restore", fifo, other]);
    const written = writeFile(fifo, readFileSync(image));
    expect(await restoring.ended).toBe(0);
    await written;
    expect(await sumOfCard(other)).toBe(sum);
    rmSync(fifo);

    await fillCard(other, 13);
    await using piped = Vfiokit.start(["restore", "-", other]);
    piped.stdin.end(readFileSync(image));
    expect(await piped.ended).toBe(0);
    expect(await sumOfCard(other)).toBe(sum);
  }, 60_000);

  it("restore from what has no end, or is damaged after a while, ends, and the device is untouched", async () => {
    const before = await fillCard(other, 17);
    expect((await Vfiokit.run("restore", "/dev/zero", other)).stderr).toMatch(
      /^error: \/dev\/zero: .*not-a-stream/,
    );
    // Another image follows the first, and another: more than the device can have.
    await using endless = Vfiokit.start(["restore", "-", other]);
    endless.stdin.on("error", () => undefined);
    const bytes = readFileSync(image);
    const begins = bytes.subarray(0, bytes.length - 30);
    const feeding = setInterval(() => endless.stdin.write(begins), 1);
    expect(await endless.ended).toBe(1);
    clearInterval(feeding);
    expect(endless.stderr).toBe(
      "error: standard input: more than 257.0 MiB, which no image of the device has\n",
    );
    expect(await sumOfCard(other)).toBe(before);
    expect(await phaseOf(other)).toEqual(RUNNING);
  }, 60_000);

  it("restore into a device of another layout: section, field and both shapes; --dry-run says the same", async () => {
    const large = dir.file("large");
    await using server = await serveCard(large, "--size", "2M");
    const text = `error: EINVAL: section memory: size is 1048576 bytes in ${image} and 2097152 bytes at ${large}\n`;
    expect(await Vfiokit.run("restore", image, large)).toMatchObject({ code: 1, stderr: text });
    expect(await Vfiokit.run("restore", image, large, "--dry-run")).toMatchObject({ code: 1, stderr: text });
    expect(await phaseOf(large)).toEqual(RUNNING);
    expect(await server.kill("SIGTERM")).toBe(0);
  }, 60_000);

  it("--dry-run: what it says is what restoring does, and it does nothing", async () => {
    const before = await fillCard(other, 19);
    const dry = await Vfiokit.run("restore", image, other, "--dry-run");
    expect([dry.code, dry.stdout]).toEqual([0, expect.stringMatching(/other takes \S+image: 1\.\d MiB\n$/)]);
    expect(await sumOfCard(other)).toBe(before);
    expect(await Vfiokit.run("restore", image, other)).toMatchObject({ code: 0 });
    expect(await sumOfCard(other)).toBe(sum);
  }, 60_000);

  it("stream: version 0 of a section is none, and so is what follows compressed data", async () => {
    const bytes = readFileSync(image);
    const at = bytes.indexOf("SECT");
    bytes.writeUInt32LE(0, at + 12);
    // Each record's checksum begins with that of BEGN: docs/migration-stream.md.
    const length = bytes.readUInt32LE(at + 8);
    const seed = bytes.readUInt32LE(at - 4);
    bytes.writeUInt32LE(crc32c(bytes, seed, at, at + 12 + length), at + 12 + length);
    writeFileSync(dir.file("zero"), bytes);
    const { code, stdout } = await Vfiokit.run("stream", dir.file("zero"));
    expect([code, stdout]).toEqual([1, expect.stringMatching(/section \S+ has version 0/)]);
    if (!hasZstd) return;
    const small = dir.file("trailing");
    expect(await Vfiokit.run("save", card, small, "--compression", "zstd")).toMatchObject({ code: 0 });
    appendFileSync(small, "garbage");
    const trailing = await Vfiokit.run("stream", small);
    expect([trailing.code, trailing.stderr]).toEqual([
      1,
      expect.stringMatching(/bytes follow the end of what is compressed/),
    ]);
  }, 60_000);

  it("a server with another client: nothing is written", async () => {
    using _qemu = await VfioUserClient.connect(card);
    const { code, stderr } = await Vfiokit.run("save", card, dir.file("none"));
    expect([code, stderr]).toEqual([1, expect.stringMatching(/another client is connected/)]);
    expect(readdirSync(dir.path)).not.toContain("none");
  });

  it("save replaces no FIFO, no device, no folder and no socket: a FIFO and standard output get the image", async () => {
    const fifo = dir.file("fifo");
    execFileSync("mkfifo", [fifo]);
    const reader = readFile(fifo);
    const { code, stdout, stderr } = await Vfiokit.run("save", card, fifo, "--compression", "none");
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^saved /);
    expect(describeStream(await reader).valid).toBe(true);
    expect(statSync(fifo).isFIFO()).toBe(true);
    rmSync(fifo);

    await using piped = Vfiokit.start(["save", card, "-", "--compression", "none"]);
    const pieces: Buffer[] = [];
    piped.child.stdout!.on("data", (bytes: Buffer) => pieces.push(bytes));
    expect(await piped.ended).toBe(0);
    expect(describeStream(Buffer.concat(pieces)).valid).toBe(true);
    expect(piped.stderr).toMatch(/^saved /);

    for (const [target, kind] of [
      [dir.path, "directory"],
      ["/dev/null", "device"],
      [other, "socket"],
    ] as const) {
      const refused = await Vfiokit.run("save", card, target);
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(`^error: .* is a ${kind}: `)]);
    }
    expect(statSync("/dev/null").isCharacterDevice()).toBe(true);
    expect(await phaseOf(other)).toEqual(RUNNING);
  }, 60_000);

  it("save to a FIFO that nobody reads waits, and can be interrupted", async () => {
    const fifo = dir.file("fifo");
    execFileSync("mkfifo", [fifo]);
    await using saving = Vfiokit.start(["save", card, fifo]);
    await expect
      .poll(() => readFileSync(`/proc/${saving.child.pid!}/status`, "latin1"))
      .toContain("S (sleeping)");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(saving.child.exitCode).toBeNull();
    expect(await saving.kill("SIGINT")).toBe(1);
    expect(saving.stderr).toMatch(/^error: \S+fifo: SIGINT\n$/);
    rmSync(fifo);
  }, 60_000);

  it("save through a link writes what it points to, beside a partial file of somebody with the same process id", async () => {
    const [target, link] = [dir.file("target"), dir.file("link")];
    writeFileSync(target, "the old one");
    symlinkSync(target, link);
    writeFileSync(dir.file(".target.1.partial"), "left by another container's process 1");
    expect(await Vfiokit.run("save", card, link)).toMatchObject({ code: 0 });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(statSync(target).size).toBeGreaterThan(1000);
    for (const name of ["target", "link", ".target.1.partial"]) rmSync(dir.file(name));
  }, 60_000);

  it("a file that cannot be written, or is not there", async () => {
    expect(await Vfiokit.run("save", card, `${dir.path}/no/such/folder`)).toMatchObject({ code: 1 });
    const { code, stderr } = await Vfiokit.run("stream", dir.file("absent"));
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^error: .*absent: ENOENT.*\n$/)]);
  });

  it("by default: compressed where this Node can, and nothing is said about it where it cannot", async () => {
    const byDefault = dir.file("default");
    const { code, stdout, stderr } = await Vfiokit.run("save", card, byDefault, "--json");
    expect([code, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toMatchObject({ compression: hasZstd ? "zstd" : "none" });
    expect(await Vfiokit.run("restore", byDefault, other)).toMatchObject({ code: 0 });
    expect(await sumOfCard(other)).toBe(sum);
  });

  it.runIf(!hasZstd)("--compression zstd on a Node without: exit code 2", async () => {
    const { code, stderr } = await Vfiokit.run("save", card, image, "--compression", "zstd");
    expect([code, stderr]).toEqual([2, expect.stringMatching(/needs Node 22\.15 or newer/)]);
  });

  it.runIf(hasZstd)("--compression zstd: smaller, and read all the same", async () => {
    const small = dir.file("small");
    expect(await Vfiokit.run("save", card, small, "--compression", "zstd")).toMatchObject({ code: 0 });
    expect(await Vfiokit.run("stream", small)).toMatchObject({ code: 0 });
    expect(await Vfiokit.run("restore", small, other)).toMatchObject({ code: 0 });
    expect(await sumOfCard(other)).toBe(sum);
  });
});

describe("an image file", () => {
  const gzip: FileCodec = {
    number: 1,
    name: "gzip",
    compress: () => createGzip(),
    decompress: () => createGunzip(),
  };
  const stream = new Uint8Array(300_000).map((_, at) => at >> 8);

  async function contents(path: string): Promise<Uint8Array> {
    const { chunks } = await openImage(path, [gzip]);
    const all: Uint8Array[] = [];
    for await (const chunk of chunks) all.push(chunk);
    return Buffer.concat(all);
  }

  it.each([
    ["compressed", gzip],
    ["as it is", undefined],
  ])("%s: what was written is read", async (_, codec) => {
    using dir = scratch();
    const file = await ImageFile.create(dir.file("image"), codec);
    for (let at = 0; at < stream.length; at += 70_000) await file.write(stream.subarray(at, at + 70_000));
    // Not there before it is complete.
    expect(readdirSync(dir.path)).toEqual([expect.stringMatching(/^\.image\.[0-9a-f-]{36}\.partial$/)]);
    await file.commit();
    expect(readdirSync(dir.path)).toEqual(["image"]);
    expect(statSync(dir.file("image")).size).toBe(file.size);
    expect(file.size < stream.length).toBe(codec !== undefined);
    expect(Buffer.compare(await contents(dir.file("image")), stream)).toBe(0);
  });

  it("one that is given up leaves what was there", async () => {
    using dir = scratch();
    writeFileSync(dir.file("image"), "the old one");
    const file = await ImageFile.create(dir.file("image"), undefined);
    await file.write(stream);
    await file.discard();
    expect(readdirSync(dir.path)).toEqual(["image"]);
    expect(readFileSync(dir.file("image"), "utf8")).toBe("the old one");
  });

  it("that is damaged where it is compressed", async () => {
    using dir = scratch();
    writeFileSync(dir.file("image"), Buffer.concat([encodeContainerHeader(1), Buffer.from("no gzip")]));
    await expect(contents(dir.file("image"))).rejects.toThrow(/image: incorrect header check/);
  });

  it("with bytes behind its end: says how many", async () => {
    using dir = scratch();
    const file = await ImageFile.create(dir.file("image"), gzip);
    await file.write(stream);
    await file.commit();
    for (const garbage of [Buffer.from("garbage!"), Buffer.alloc(3_000_000, 7)]) {
      writeFileSync(dir.file("more"), Buffer.concat([readFileSync(dir.file("image")), garbage]));
      await expect(contents(dir.file("more"))).rejects.toThrow(
        /more: (incorrect header check|\d+ bytes follow)/,
      );
    }
  });

  it("of a later version, of an unknown codec, or cut in its header: says so", async () => {
    const later = encodeContainerHeader(1);
    later[8] = 2;
    expect(() => containerCodec("f", later)).toThrow("f: a file of version 2: this vfiokit reads version 1");
    expect(() => containerCodec("f", later.subarray(0, CONTAINER_HEADER - 1))).toThrow(
      "breaks off in its header",
    );
    using dir = scratch();
    writeFileSync(dir.file("image"), encodeContainerHeader(7));
    await expect(openImage(dir.file("image"), [gzip])).rejects.toThrow(
      /compressed \(codec 7\), which this .* cannot read/,
    );
  });

  it("shorter than a header: it is what it is", async () => {
    using dir = scratch();
    writeFileSync(dir.file("image"), "short");
    expect(Buffer.from(await contents(dir.file("image"))).toString()).toBe("short");
  });
});
