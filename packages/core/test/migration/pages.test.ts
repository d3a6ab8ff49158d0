import { describe, expect, it } from "vitest";
import type { DeviceIdentity, StreamRule } from "@vfiokit/core/migration";
import type { MigratedMemory, SavedSection } from "../../src/migration/sections.js";
import { StreamError, StreamReader, StreamWriter } from "../../src/migration/stream.js";
import { BEGIN, CRC, endBody, forge, HEADER, sectionBody } from "./forge.js";

const PAGE = 4096;
const OPTIONAL = 1;
const MEMORY = 2;

const identity: DeviceIdentity = {
  vendor: 0x1b36,
  device: 1,
  subsystemVendor: 0x1b36,
  subsystemDevice: 1,
  classCode: 0x058000,
  revision: 0,
};

function beginBody(format = 2): Uint8Array {
  const origin = { identity, streamId: new Uint8Array(16).fill(0xa0), generation: 0 };
  const stream = new Uint8Array(BEGIN);
  new StreamWriter(origin, []).read(stream);
  const body = stream.slice(HEADER, BEGIN - CRC);
  new DataView(body.buffer).setUint16(8, format, true);
  return body;
}

function pagesBody(section: number, offset: number | bigint, bytes: Uint8Array, reserved = 0): Uint8Array {
  const body = new Uint8Array(16 + bytes.length);
  const view = new DataView(body.buffer);
  view.setUint32(0, section, true);
  view.setUint32(4, reserved, true);
  view.setBigUint64(8, BigInt(offset), true);
  body.set(bytes, 16);
  return body;
}

const page = (value: number, pages = 1) => new Uint8Array(PAGE * pages).fill(value);

function memoryOf(size: number): MigratedMemory {
  const bytes = new Uint8Array(size);
  return { version: 1, size, bytes, tracked: undefined, write: (offset, from) => bytes.set(from, offset) };
}

type Part = readonly [type: string, body: Uint8Array];
const begin: Part = ["BEGN", beginBody()];
/** Two pages and a bit: "ram", a section that the device has. */
const RAM = 2 * PAGE + 100;
const ram: Part = ["SECT", sectionBody("ram", BigInt(RAM), MEMORY)];
const all: Part = ["PAGE", pagesBody(0, 0, new Uint8Array(RAM).fill(1))];
const end = (sections = 1n, bytes = BigInt(RAM)): Part => ["END ", endBody(sections, bytes)];

function read(parts: readonly Part[], memory = memoryOf(RAM)): SavedSection[] {
  const reader = new StreamReader(identity, { memories: new Map([["ram", memory]]) });
  reader.push(forge(...parts));
  return reader.finish();
}

describe("memory in pages (format 2)", () => {
  it("comes in any order, and again: the last wins", () => {
    const memory = memoryOf(RAM);
    const tail = new Uint8Array(100).fill(9);
    read(
      [
        begin,
        ram,
        ["PAGE", pagesBody(0, PAGE, page(1))],
        ["PAGE", pagesBody(0, 2 * PAGE, tail)],
        ["PAGE", pagesBody(0, PAGE, page(2))],
        ["PAGE", pagesBody(0, 0, page(3))],
        end(),
      ],
      memory,
    );
    expect([0, PAGE, 2 * PAGE - 1, 2 * PAGE, RAM - 1].map((at) => memory.bytes[at])).toEqual([3, 2, 2, 9, 9]);
  });

  it("is mixed with other sections, each of which comes whole", () => {
    const memory = memoryOf(RAM);
    const saved = read(
      [
        begin,
        ["SECT", sectionBody("a", 2n)],
        ["DATA", Uint8Array.of(1, 2)],
        ram,
        ["PAGE", pagesBody(1, 0, page(1, 2))],
        ["SECT", sectionBody("b", 1n)],
        ["DATA", Uint8Array.of(3)],
        ["PAGE", pagesBody(1, PAGE, new Uint8Array(PAGE + 100).fill(4))],
        end(3n, BigInt(RAM + 3)),
      ],
      memory,
    );
    expect(saved.map(({ name, bytes }) => [name, bytes.length])).toEqual([
      ["a", 2],
      ["b", 1],
      ["ram", RAM],
    ]);
    expect(saved[2]!.bytes).toBe(memory.bytes);
    expect([0, PAGE, RAM - 1].map((at) => memory.bytes[at])).toEqual([1, 4, 4]);
  });

  it("is passed over if it is optional and the device does not have it", () => {
    const saved = read([
      begin,
      ["SECT", sectionBody("cache", BigInt(2 * PAGE), MEMORY | OPTIONAL)],
      ram,
      ["PAGE", pagesBody(1, 0, new Uint8Array(RAM))],
      ["PAGE", pagesBody(0, 0, page(7, 2))],
      end(2n, BigInt(RAM + 2 * PAGE)),
    ]);
    expect(saved.map(({ name }) => name)).toEqual(["ram"]);
  });

  it.each<[string, StreamRule, readonly Part[], string]>([
    [
      "a page that never came",
      "malformed",
      [
        begin,
        ram,
        ["PAGE", pagesBody(0, 0, page(1))],
        ["PAGE", pagesBody(0, 2 * PAGE, new Uint8Array(100))],
        end(),
      ],
      "section ram has 2 of 3 pages when the stream ends: the one at byte 4096 never came",
    ],
    ["no page at all", "malformed", [begin, ram, end()], "section ram has 0 of 3 pages when the stream ends"],
    [
      "a page of a section that was not announced",
      "malformed",
      [begin, ram, ["PAGE", pagesBody(1, 0, page(1))]],
      "PAGE of section 1, which is none that has pages",
    ],
    [
      "a page of a section that has none",
      "malformed",
      [begin, ["SECT", sectionBody("a", 0n)], ["PAGE", pagesBody(0, 0, page(1))]],
      "PAGE of section 0, which is none that has pages",
    ],
    [
      "a page in the middle of another section",
      "malformed",
      [begin, ram, ["SECT", sectionBody("a", 2n)], ["PAGE", pagesBody(0, 0, page(1))]],
      "section a has 0 of 2 bytes when pages of another come",
    ],
    [
      "DATA for a section that has pages",
      "malformed",
      [begin, ram, ["DATA", page(1)]],
      "DATA for section ram, which comes in pages",
    ],
    [
      "bytes that do not begin with a page",
      "malformed",
      [begin, ram, ["PAGE", pagesBody(0, 100, page(1))]],
      "section ram: bytes 100 to 4196 of 8292 are no pages of it",
    ],
    [
      "bytes that do not end with a page",
      "malformed",
      [begin, ram, ["PAGE", pagesBody(0, 0, new Uint8Array(100))]],
      "section ram: bytes 0 to 100 of 8292 are no pages of it",
    ],
    [
      "bytes behind the end",
      "malformed",
      [begin, ram, ["PAGE", pagesBody(0, 2 * PAGE, page(1))]],
      "section ram: bytes 8192 to 12288 of 8292 are no pages of it",
    ],
    [
      "bytes where no number reaches",
      "malformed",
      [begin, ram, ["PAGE", pagesBody(0, 2n ** 64n - 4096n, page(1))]],
      "of 8292 are no pages of it",
    ],
    ["a reserved field", "malformed", [begin, ram, ["PAGE", pagesBody(0, 0, page(1), 1)]], "reserved field"],
    [
      "unknown flags",
      "malformed",
      [begin, ["SECT", sectionBody("a", 0n, 4)]],
      "section a has unknown flags 0x4",
    ],
    ["pages in format 1", "malformed", [["BEGN", beginBody(1)], ram], "section ram has unknown flags 0x2"],
    ["a wrong total", "malformed", [begin, ram, all, end(1n, 1n)], "it had 1 of 8292"],
    [
      "memory of another size",
      "other-memory",
      [begin, ["SECT", sectionBody("ram", BigInt(RAM + 1), MEMORY)]],
      "section ram has 8293 bytes, the device's memory 8292",
    ],
    [
      "memory of another size, in one piece",
      "other-memory",
      [begin, ["SECT", sectionBody("ram", 5n)]],
      "section ram has 5 bytes, the device's memory 8292",
    ],
    [
      "memory that the device does not have",
      "other-memory",
      [begin, ["SECT", sectionBody("disk", 4096n, MEMORY)]],
      "section disk: this device has no such memory, and it is not optional",
    ],
    [
      "more memory than anybody has",
      "too-large",
      [begin, ["SECT", sectionBody("disk", 2n ** 40n + 1n, MEMORY | OPTIONAL)]],
      "section disk of 1099511627777 bytes: memory of more than 1099511627776 in all",
    ],
  ])("is refused with %s", (_, rule, parts, message) => {
    let error: unknown;
    try {
      read(parts);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(StreamError);
    expect(error).toMatchObject({ code: "EINVAL", rule });
    expect((error as Error).message).toContain(message);
  });

  it("of a version that the device does not know is refused", () => {
    const body = sectionBody("ram", BigInt(RAM), MEMORY);
    new DataView(body.buffer).setUint32(0, 2, true);
    expect(() => read([begin, ["SECT", body]])).toThrow("section ram: version 2, this device reads 1 to 1");
  });

  it("does not reach the device before the record that carries it is known to be whole", () => {
    const memory = memoryOf(RAM);
    const reader = new StreamReader(identity, { memories: new Map([["ram", memory]]) });
    const stream = forge(begin, ram, all);
    reader.push(stream.subarray(0, -1));
    expect(reader.touchedMemory).toBe(false);
    expect(memory.bytes[0]).toBe(0);
    reader.push(stream.subarray(-1));
    expect(reader.touchedMemory).toBe(true);
    expect(memory.bytes[0]).toBe(1);
  });

  it("costs a reader a bit a page", () => {
    const memory = memoryOf(RAM);
    const reader = new StreamReader(identity, { memories: new Map([["ram", memory]]) });
    reader.push(forge(begin, ram, all));
    expect(reader.held).toBe(4);
    reader.push(new Uint8Array(10)); // a part of the next record's header
    expect(reader.held).toBe(4 + 10);
  });
});
