import { constants } from "node:buffer";
import { constants as fsConstants, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import {
  createBacking,
  createMemfd,
  Fd,
  Mapping,
  MAX_MAPPED,
  memfdMemory,
  openMappings,
  Seal,
} from "@vfiokit/user/linux";
import { describe, expect, it } from "vitest";
import { kernelResources } from "./support.js";

const PAGE = 4096;

describe("Fd", () => {
  it("closes once: a second close leaves a descriptor that has taken the number alone", () => {
    const first = createMemfd("first", PAGE);
    const number = first.number;
    first.close();
    using second = createMemfd("second", PAGE);
    expect(second.number).toBe(number);
    first.close();
    first[Symbol.dispose]();
    expect(kernelResources().fds.some((line) => line.startsWith(`${number} /memfd:second`))).toBe(true);
  });

  it("does not tell its number once it is closed", () => {
    const fd = createMemfd("closed", PAGE);
    fd.close();
    expect(() => fd.number).toThrow("the file descriptor is closed");
    expect(fd.closed).toBe(true);
  });

  it("refuses what is no descriptor", () => {
    expect(() => new Fd(-1)).toThrow(RangeError);
    expect(() => new Fd(1.5)).toThrow(RangeError);
  });

  it("duplicates: both refer to one open file", () => {
    using fd = createMemfd("dup", PAGE);
    using twin = fd.duplicate();
    writeSync(fd.number, "x", 0);
    const byte = Buffer.alloc(1);
    readSync(twin.number, byte, 0, 1, 0);
    expect(byte.toString()).toBe("x");
  });
});

describe("a client's memory", () => {
  const whole = { offset: 0, length: PAGE, writable: true } as const;

  it.each(["auto", "mmap", "file"] as const)(
    "--dma-access %s: descriptors that are open for something else are refused (O_PATH, O_WRONLY, O_RDONLY)",
    (access) => {
      using memory = createMemfd("guest", PAGE);
      const again = (flags: number) => new Fd(openSync(`/proc/self/fd/${memory.number}`, flags));
      const O_PATH = 0o10000000;
      const backing = (flags: number, writable: boolean) =>
        createBacking(again(flags), { ...whole, writable, access }).release();
      expect(() => backing(O_PATH, false)).toThrow("EINVAL: the descriptor to map is open with O_PATH");
      expect(() => backing(fsConstants.O_WRONLY, false)).toThrow("is open for writing only");
      expect(() => backing(fsConstants.O_WRONLY, true)).toThrow("is open for writing only");
      expect(() => backing(fsConstants.O_RDONLY, true)).toThrow("is open for reading only");
      backing(fsConstants.O_RDONLY, false);
      backing(fsConstants.O_RDWR, true);
    },
  );

  it("auto: maps what nobody can shrink, and nothing else", () => {
    const mapped = (seals: number) => {
      const backing = createBacking(createMemfd("guest", PAGE, seals), { ...whole, access: "auto" });
      const { bytes } = backing;
      const yes = bytes !== undefined;
      backing.release();
      return yes;
    };
    expect(mapped(Seal.SHRINK)).toBe(true);
    expect(mapped(Seal.SHRINK | Seal.GROW | Seal.SEAL)).toBe(true);
    expect(mapped(Seal.GROW)).toBe(false);
    expect(mapped(0)).toBe(false);
    const file = new Fd(openSync(import.meta.filename, "r"));
    const backing = createBacking(file, { ...whole, length: 100, writable: false, access: "auto" });
    expect(backing.bytes).toBeUndefined();
    backing.release();
  });

  it("auto: a client that shrinks its file fails its own access, and ends nobody by SIGBUS", () => {
    using memory = createMemfd("guest", 2 * PAGE, 0);
    const backing = createBacking(memory.duplicate(), { ...whole, length: 2 * PAGE, access: "auto" });
    backing.write(PAGE, Uint8Array.of(7));
    ftruncateSync(memory.number, PAGE);
    const byte = new Uint8Array(1);
    expect(() => backing.read(PAGE, byte)).toThrow(
      "EFAULT: the client's memory: its file has become shorter",
    );
    backing.read(0, byte);
    backing.release();
  });
});

describe("memfd", () => {
  it("has the size asked for, for good", () => {
    using fd = createMemfd("sealed", 2 * PAGE);
    expect(() => ftruncateSync(fd.number, PAGE)).toThrow("EPERM");
    expect(() => ftruncateSync(fd.number, 3 * PAGE)).toThrow("EPERM");
  });

  it("takes the seals it is told to", () => {
    using fd = createMemfd("growing", PAGE, Seal.SHRINK);
    ftruncateSync(fd.number, 3 * PAGE);
    expect(() => ftruncateSync(fd.number, PAGE)).toThrow("EPERM");
    using open = createMemfd("open", PAGE, 0);
    ftruncateSync(open.number, 0);
  });

  it("as a memory provider: zeroed bytes that another mapping of its descriptor shares", () => {
    using memory = memfdMemory.allocate("bar2", 2 * PAGE);
    expect(memory.bytes.every((byte) => byte === 0)).toBe(true);
    using file = new Fd(openSync(`/proc/self/fd/${memory.fd!}`, "r+"));
    using other = Mapping.ofFile(file, { length: 2 * PAGE, writable: true });
    memory.bytes[PAGE] = 0x5a;
    expect(other.bytes[PAGE]).toBe(0x5a);
  });
});

describe("Mapping", () => {
  it("shows the file from the offset on, and stores reach it", () => {
    using fd = createMemfd("file", 4 * PAGE);
    using whole = Mapping.ofFile(fd, { length: 4 * PAGE, writable: true });
    using part = Mapping.ofFile(fd, { offset: 2 * PAGE, length: 100, writable: true });
    expect(part.bytes.length).toBe(100);
    part.bytes.set([1, 2, 3], 97);
    expect([...whole.bytes.subarray(2 * PAGE + 97, 2 * PAGE + 100)]).toEqual([1, 2, 3]);
  });

  it("outlives the descriptor it was made of", () => {
    const fd = createMemfd("file", PAGE);
    using mapping = Mapping.ofFile(fd, { length: PAGE, writable: true });
    fd.close();
    mapping.bytes[0] = 7;
    expect(mapping.bytes[0]).toBe(7);
  });

  it("without write access: sees the file change, and a stray store reaches nobody", () => {
    using fd = createMemfd("file", 2 * PAGE);
    using writer = Mapping.ofFile(fd, { length: 2 * PAGE, writable: true });
    using readOnly = new Fd(openSync(`/proc/self/fd/${fd.number}`, "r"));
    using reader = Mapping.ofFile(readOnly, { length: 2 * PAGE, writable: false });
    writer.bytes[5] = 9;
    expect(reader.bytes[5]).toBe(9);
    writer.bytes[5] = 10;
    expect(reader.bytes[5]).toBe(10);
    reader.bytes[PAGE] = 77;
    expect(writer.bytes[PAGE]).toBe(0);
    expect(() => Mapping.ofFile(readOnly, { length: PAGE, writable: true })).toThrow("open for reading only");
  });

  it("is detached when it is unmapped: a late touch finds nothing and a late copy throws", () => {
    using fd = createMemfd("late", PAGE);
    const mapping = Mapping.ofFile(fd, { length: PAGE, writable: true });
    const { bytes } = mapping;
    const part = bytes.subarray(16, 32);
    const view = new DataView(bytes.buffer, 0, 8);
    bytes[16] = 1;
    mapping[Symbol.dispose]();
    mapping[Symbol.dispose]();
    expect(kernelResources().maps).toBe(0);
    expect(bytes.length).toBe(0);
    expect(part.length).toBe(0);
    expect(bytes[16]).toBeUndefined();
    bytes[16] = 2;
    expect(() => bytes.set([1])).toThrow();
    expect(() => view.getUint32(0)).toThrow(TypeError);
    expect(() => new Uint8Array(bytes.buffer, 0, 8)).toThrow();
  });

  it("unmaps only: the file's bytes stay as they were", () => {
    using fd = createMemfd("kept", PAGE);
    const first = Mapping.ofFile(fd, { length: PAGE, writable: true });
    first.bytes[3] = 33;
    first[Symbol.dispose]();
    using again = Mapping.ofFile(fd, { length: PAGE, writable: true });
    expect(again.bytes[3]).toBe(33);
  });

  it.each([
    ["longer than the file", { length: PAGE + 1 }, "EINVAL: a mapping of 4097 bytes at 0: the file has 4096"],
    ["behind its end", { offset: PAGE, length: 1 }, "the file has 4096 bytes"],
    ["unaligned", { offset: 1, length: 10 }, "file offset 1: no multiple of 4096"],
    ["empty", { length: 0 }, "mapping length 0"],
    ["beyond all numbers", { offset: 2 ** 60, length: 1 }, "file offset"],
  ])("refuses a range that is %s", (_what, range, message) => {
    using fd = createMemfd("short", PAGE);
    const before = openMappings();
    expect(() => Mapping.ofFile(fd, { ...range, writable: true })).toThrow(message);
    expect(openMappings()).toBe(before);
  });

  it("refuses what has no length: a device, a pipe, a directory", () => {
    using device = new Fd(openSync("/dev/zero", "r+"));
    using directory = new Fd(openSync("/", "r"));
    for (const fd of [device, directory])
      expect(() => Mapping.ofFile(fd, { length: PAGE, writable: false })).toThrow("no regular file");
  });

  it("refuses more than may be mapped, before the engine aborts the process for want of addresses", () => {
    using fd = createMemfd("huge", MAX_MAPPED + PAGE);
    expect(() => Mapping.ofFile(fd, { length: MAX_MAPPED + PAGE, writable: true })).toThrow("ENOMEM");
  });

  // With Node 20 a view has 4 GiB at most: it would take 4096 of them.
  it.runIf(constants.MAX_LENGTH > MAX_MAPPED)("counts all mappings together, of the same file, too", () => {
    const length = MAX_MAPPED / 2;
    using fd = createMemfd("sparse", length);
    {
      using _one = Mapping.ofFile(fd, { length, writable: true });
      using _two = Mapping.ofFile(fd, { length, writable: true });
      expect(() => Mapping.ofFile(fd, { length: PAGE, writable: true })).toThrow("ENOMEM");
    }
    using again = Mapping.ofFile(fd, { length: PAGE, writable: true });
    expect(again.bytes.length).toBe(PAGE);
  });
});

describe.each(["mmap", "file"] as const)("DMA backing by %s", (access) => {
  it("reads and writes the file's range", () => {
    using fd = createMemfd("guest", 3 * PAGE);
    using guest = Mapping.ofFile(fd, { length: 3 * PAGE, writable: true });
    const backing = createBacking(fd.duplicate(), { offset: PAGE, length: PAGE, writable: true, access });
    backing.write(10, Uint8Array.of(1, 2, 3));
    expect([...guest.bytes.subarray(PAGE + 10, PAGE + 13)]).toEqual([1, 2, 3]);
    guest.bytes[2 * PAGE - 1] = 99;
    const last = new Uint8Array(1);
    backing.read(PAGE - 1, last);
    expect(last[0]).toBe(99);
    expect(() => backing.read(PAGE, last)).toThrow("EFAULT");
    expect(() => backing.write(-1, last)).toThrow("EFAULT");
    backing.release();
  });

  it("releases everything, and takes the descriptor when it refuses, too", () => {
    using fd = createMemfd("guest", PAGE);
    const before = kernelResources();
    createBacking(fd.duplicate(), { offset: 0, length: PAGE, writable: true, access }).release();
    const refused = fd.duplicate();
    expect(() => createBacking(refused, { offset: 0, length: 2 * PAGE, writable: true, access })).toThrow(
      "EINVAL",
    );
    expect(refused.closed).toBe(true);
    expect(kernelResources()).toEqual(before);
  });
});

describe("DMA backing", () => {
  it("by file: a file that shrinks later fails the access and nothing else", () => {
    using fd = createMemfd("shrinking", 2 * PAGE, 0);
    const options = { offset: 0, length: 2 * PAGE, writable: true, access: "file" } as const;
    const backing = createBacking(fd.duplicate(), options);
    ftruncateSync(fd.number, PAGE);
    expect(() => backing.read(PAGE, new Uint8Array(4))).toThrow("EFAULT");
    backing.release();
  });

  it("falls back to the file where a map is longer than may be mapped", () => {
    const length = MAX_MAPPED + PAGE;
    const fd = createMemfd("huge", length);
    const backing = createBacking(fd, { offset: 0, length, writable: true, access: "mmap" });
    expect(backing.bytes === undefined).toBe(true);
    backing.write(length - 2, Uint8Array.of(4, 5));
    const back = new Uint8Array(2);
    backing.read(length - 2, back);
    expect([...back]).toEqual([4, 5]);
    backing.release();
    expect(fd.closed).toBe(true);
  });
});
