import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PrecopyWriter } from "../../src/migration/precopy-writer.js";
import { sections, trackedMemory, type SavedSection } from "../../src/migration/sections.js";
import {
  StreamError,
  StreamReader,
  StreamWriter,
  type DeviceIdentity,
  type StreamOrigin,
  type StreamRule,
} from "../../src/migration/stream.js";
import { TrackedMemory } from "../../src/migration/tracked-memory.js";
import { BEGIN, concat, CRC, endBody, forge, HEADER, records, recordStarts, sectionBody } from "./forge.js";

const identity: DeviceIdentity = {
  vendor: 0x1b36,
  device: 0x0002,
  subsystemVendor: 0x1af4,
  subsystemDevice: 0x1100,
  classCode: 0x070002,
  revision: 1,
};
const origin: StreamOrigin = {
  identity,
  streamId: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
  generation: 3,
};

function section(name: string, bytes: Uint8Array, optional = false, version = 1): SavedSection {
  return { name, version, optional, bytes };
}

/** A section of `size` bytes that look random but are always the same. */
function filled(name: string, size: number): SavedSection {
  return section(
    name,
    Uint8Array.from({ length: size }, (_, i) => (i * 2654435761) >>> 24),
  );
}

function write(sections: readonly SavedSection[], from: StreamOrigin = origin): Uint8Array {
  const writer = new StreamWriter(from, sections);
  const bytes = new Uint8Array(writer.size);
  expect(writer.read(bytes)).toBe(bytes.length);
  return bytes;
}

function read(...pieces: readonly Uint8Array[]): SavedSection[] {
  const reader = new StreamReader(identity);
  for (const piece of pieces) reader.push(piece);
  return reader.finish();
}

/** Sections with their bytes as text, which vitest compares much faster. */
const comparable = (sections: readonly SavedSection[]) =>
  sections.map((s) => ({ ...s, bytes: Buffer.from(s.bytes).toString("latin1") }));

/** The rule that refuses the stream, or "accepted". */
function verdict(...pieces: readonly Uint8Array[]): StreamRule | "accepted" {
  try {
    read(...pieces);
    return "accepted";
  } catch (error) {
    if (error instanceof StreamError) return error.rule;
    throw error;
  }
}

const beginBody = (change: (view: DataView) => void = () => undefined) => {
  const body = write([]).slice(HEADER, HEADER + 48);
  change(new DataView(body.buffer));
  return body;
};

const arbitraryName = fc.stringMatching(/^[a-z0-9/._-]{1,20}$/);
const arbitrarySections = fc.uniqueArray(
  fc.record({
    name: arbitraryName,
    version: fc.integer({ min: 1, max: 0xffffffff }),
    optional: fc.boolean(),
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 0, max: 200_000 }).map((size) => filled("x", size).bytes),
    ),
  }),
  { selector: (s) => s.name, maxLength: 6 },
);

describe("a stream", () => {
  it("is not written with a section of version 0, which nobody would read", () => {
    expect(() => new StreamWriter(origin, [{ ...filled("x", 1), version: 0 }])).toThrow(
      "EINVAL: section x: version 0: versions begin with 1",
    );
  });

  it("carries any sections, read and written in pieces of any size", () => {
    fc.assert(
      fc.property(
        arbitrarySections,
        fc.infiniteStream(fc.integer({ min: 1, max: 100_000 })),
        (sections, sizes) => {
          const nextSize = () => sizes.next().value as number;
          const writer = new StreamWriter(origin, sections);
          const reader = new StreamReader(identity);
          let total = 0;
          for (;;) {
            const buffer = new Uint8Array(nextSize());
            const count = writer.read(buffer);
            if (count === 0) break;
            total += count;
            expect(writer.remaining).toBe(writer.size - total);
            let at = 0;
            while (at < count) {
              const size = nextSize();
              reader.push(buffer.subarray(at, Math.min(at + size, count)));
              at += size;
            }
            buffer.fill(0xee); // the reader keeps nothing of a piece
          }
          expect(total).toBe(writer.size);
          expect(comparable(reader.finish())).toEqual(comparable(sections));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("can be cut anywhere, down to single bytes", () => {
    const sections = [filled("a", 100), section("b", new Uint8Array(0), true, 7), filled("c", 3)];
    const stream = write(sections);
    expect(read(...Array.from(stream, (byte) => Uint8Array.of(byte)))).toEqual(sections);
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(read(stream.subarray(0, cut), stream.subarray(cut))).toEqual(sections);
    }
  });

  it("is written from live memory without a copy of it: what goes out has the right checksum", () => {
    const live = filled("ram", 70_000);
    const writer = new StreamWriter(origin, [live]);
    const stream = new Uint8Array(writer.size);
    writer.read(stream.subarray(0, 1000));
    live.bytes.fill(0x55);
    writer.read(stream.subarray(1000));
    expect(read(stream)[0]!.bytes.at(-1)).toBe(0x55);
  });

  it("costs little: a header and a checksum for each 64 KiB", () => {
    const size = 10 * 1024 * 1024;
    const overhead = new StreamWriter(origin, [filled("ram", size)]).size - size;
    expect(overhead).toBeLessThan(size / 1000);
  });

  it.each<[string, SavedSection[], string]>([
    ["an empty name", [section("", new Uint8Array(1))], 'section "": a name is 1 to 255 printable'],
    ["a name with a space", [section("a b", new Uint8Array(1))], 'section "a b": a name is'],
    ["a long name", [section("n".repeat(256), new Uint8Array(1))], "a name is 1 to 255"],
    ["a name twice", [filled("a", 1), filled("a", 1)], "section a: given twice"],
    [
      "4097 sections",
      Array.from({ length: 4097 }, (_, i) => filled(`s${i}`, 0)),
      "4097 sections, a stream has at most 4096",
    ],
  ])("is not written with %s", (_, sections, message) => {
    expect(() => new StreamWriter(origin, sections)).toThrow(message);
  });

  it("is not written without a proper id", () => {
    expect(() => new StreamWriter({ ...origin, streamId: new Uint8Array(8) }, [])).toThrow(
      "streamId: 8 bytes",
    );
  });
});

// Every single bit of a stream flipped, and 100,000 mutants: robustness.test.ts.
describe("a stream is refused", () => {
  // About 4 KiB: several sections, one of them empty, one optional.
  const small = write([
    filled("registers", 64),
    section("none", new Uint8Array(0), true),
    filled("fifo", 3700),
  ]);

  it("when it is cut short anywhere", () => {
    for (let length = 0; length < small.length; length++) {
      expect(verdict(small.subarray(0, length)), `after ${length} bytes`).toBe("incomplete");
    }
  });

  it("when something follows its end", () => {
    expect(verdict(small, Uint8Array.of(0))).toBe("incomplete");
    expect(verdict(small, new Uint8Array(1000))).toBe("damaged");
    expect(verdict(small, records(small)[2]!)).toBe("out-of-order");
  });

  it("with any two records swapped, one repeated or one left out", () => {
    const parts = records(write([filled("a", 10), filled("b", 70_000), filled("c", 10)]));
    expect(parts).toHaveLength(1 + 2 + 3 + 2 + 1);
    for (let i = 0; i < parts.length; i++) {
      expect(verdict(...parts.toSpliced(i, 1)), `without record ${i}`).not.toBe("accepted");
      // A second BEGN starts over: that is what it is for. (See "starting over".)
      if (i > 0)
        expect(verdict(...parts.toSpliced(i, 0, parts[i]!)), `record ${i} twice`).toBe("out-of-order");
      for (let j = i + 1; j < parts.length; j++) {
        const swapped = parts.with(i, parts[j]!).with(j, parts[i]!);
        expect(verdict(...swapped), `records ${i} and ${j} swapped`).not.toBe("accepted");
      }
    }
  });

  it("with a record of another image of the same device in it", () => {
    const other = records(write([filled("a", 10)], { ...origin, generation: 4 }));
    expect(verdict(...records(write([filled("a", 10)])).with(2, other[2]!))).toBe("damaged");
  });

  it("when it is no stream at all", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 3000 }), (noise) => verdict(noise) !== "accepted"));
    expect(verdict(new TextEncoder().encode("QEVM".repeat(20)))).toBe("not-a-stream");
    expect(verdict(...records(small).slice(1))).toBe("not-a-stream");
  });

  it("or any mixture of pieces of streams: never an exception of another kind", () => {
    const parts = [...records(small), ...records(write([filled("fifo", 50)], { ...origin, generation: 9 }))];
    const piece = fc.oneof(
      fc.constantFrom(...parts),
      fc.tuple(fc.constantFrom(...parts), fc.nat(5000)).map(([part, cut]) => part.subarray(0, cut)),
      fc.uint8Array({ maxLength: 30 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        verdict(...pieces);
      }),
      { numRuns: 500 },
    );
  });

  it.each<[keyof DeviceIdentity, number]>([
    ["vendor", 0x1b37],
    ["device", 3],
    ["subsystemVendor", 0],
    ["subsystemDevice", 0x1101],
    ["classCode", 0x070001],
    ["revision", 2],
  ])("when it is of a device with another %s", (field, value) => {
    const stream = write([filled("a", 1)], { ...origin, identity: { ...identity, [field]: value } });
    expect(verdict(stream)).toBe("other-device");
  });

  it.each<[string, StreamRule, Uint8Array, string]>([
    [
      "of a newer format",
      "newer-format",
      forge(["BEGN", beginBody((v) => v.setUint16(8, 3, true))]),
      "at byte 0: its format is 3, this version reads up to 2",
    ],
    ["of format 0", "malformed", forge(["BEGN", beginBody((v) => v.setUint16(8, 0, true))]), "a format of 0"],
    [
      "with a reserved field",
      "malformed",
      forge(["BEGN", beginBody((v) => v.setUint8(10, 1))]),
      "reserved field",
    ],
    [
      "with another magic",
      "not-a-stream",
      forge(["BEGN", beginBody((v) => v.setUint8(0, 1))]),
      "the magic number",
    ],
    [
      "with a section twice",
      "malformed",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a", 0n)], ["SECT", sectionBody("a", 0n)]),
      "section a is there twice",
    ],
    [
      "with unknown section flags",
      "malformed",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a", 0n, 6)]),
      "section a has unknown flags 0x6",
    ],
    [
      "with a control character in a name",
      "malformed",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a\x1b", 0n)]),
      "not printable ASCII",
    ],
    [
      "with more data than announced",
      "malformed",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a", 1n)], ["DATA", new Uint8Array(2)]),
      "section a is longer than announced",
    ],
    [
      "with less data than announced",
      "malformed",
      forge(
        ["BEGN", beginBody()],
        ["SECT", sectionBody("a", 3n)],
        ["DATA", new Uint8Array(2)],
        ["END ", endBody(1n, 3n)],
      ),
      "section a has 2 of 3 bytes when the stream ends",
    ],
    [
      "with a section that begins before the last one is complete",
      "malformed",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a", 3n)], ["SECT", sectionBody("b", 3n)]),
      "section a has 0 of 3 bytes when the next begins",
    ],
    [
      "with data before any section",
      "malformed",
      forge(["BEGN", beginBody()], ["DATA", new Uint8Array(2)]),
      "DATA without a section",
    ],
    [
      "with a wrong count at the end",
      "malformed",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a", 0n)], ["END ", endBody(2n, 0n)]),
      "it says that it has 2 sections of 0 bytes, it had 1 of 0",
    ],
    [
      "with a wrong total at the end",
      "malformed",
      forge(["BEGN", beginBody()], ["END ", endBody(0n, 1n)]),
      "it says that it has 0 sections of 1 bytes, it had 0 of 0",
    ],
    [
      "that goes on after its end",
      "malformed",
      forge(["BEGN", beginBody()], ["END ", endBody(0n, 0n)], ["END ", endBody(0n, 0n)]),
      "the stream goes on after its end",
    ],
    [
      "with 4097 sections",
      "too-large",
      forge(
        ["BEGN", beginBody()],
        ...Array.from({ length: 4097 }, (_, i) => ["SECT", sectionBody(`s${i}`, 0n)] as const),
      ),
      "more than 4096 sections",
    ],
    [
      "with a section that wraps every counter",
      "too-large",
      forge(["BEGN", beginBody()], ["SECT", sectionBody("a", 2n ** 64n - 1n)]),
      "section a of 18446744073709551615 bytes: more than 2^53",
    ],
  ])("%s", (_, rule, stream, message) => {
    let error: unknown;
    try {
      read(stream);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(StreamError);
    expect(error).toMatchObject({ code: "EINVAL", rule });
    expect((error as Error).message).toContain(message);
  });

  it("beyond the reader's limit, counted over all sections, before anything is allocated for it", () => {
    const reader = new StreamReader(identity, { bytes: 100 });
    const stream = write([filled("a", 60), filled("b", 41)]);
    expect(() => reader.push(stream)).toThrow(
      "section b of 41 bytes exceeds the limit of 100 for all sections",
    );
    const enough = new StreamReader(identity, { bytes: 101 });
    enough.push(stream);
    expect(enough.finish()).toHaveLength(2);
  });

  it("for good: the same answer to everything that follows", () => {
    const reader = new StreamReader(identity);
    expect(() => reader.push(new Uint8Array(100))).toThrow(StreamError);
    expect(() => reader.push(small)).toThrow("this is no vfiokit migration stream");
    expect(() => reader.finish()).toThrow("this is no vfiokit migration stream");
  });

  it("early: a bad record is refused when it arrives, not at the end", () => {
    const reader = new StreamReader(identity);
    const [begin, sect] = records(small) as [Uint8Array, Uint8Array];
    sect[20]! ^= 1;
    reader.push(begin);
    expect(() => reader.push(concat(sect, new Uint8Array(BEGIN)))).toThrow(
      "at byte 64: checksum does not match",
    );
  });
});

describe("starting over (a device reset in PRE_COPY)", () => {
  const before = write([filled("ram", 5000), filled("registers", 20)]);
  const after = write([filled("registers", 24)], { ...origin, generation: 4 });

  it("forgets what came before, wherever the old image was cut", () => {
    const whole = read(after);
    for (let cut = 0; cut <= before.length; cut++) {
      if (cut > 0 && cut < BEGIN) continue; // see the next test
      expect(read(before.subarray(0, cut), after), `cut at ${cut}`).toEqual(whole);
    }
  });

  it("finds the new image on the border of the old record, even if it arrives in single bytes", () => {
    const border = recordStarts(before)[3]!; // the end of the memory's DATA
    for (let cut = border - BEGIN - 5; cut < border; cut++) {
      expect(read(before.subarray(0, cut), ...Array.from(after, (byte) => Uint8Array.of(byte)))).toEqual(
        read(after),
      );
    }
  });

  it("needs the first BEGN whole: before that there is no id to know the stream by", () => {
    for (let cut = 1; cut < BEGIN; cut++) {
      expect(verdict(before.subarray(0, cut), after), `cut at ${cut}`).not.toBe("accepted");
    }
  });

  it("works any number of times, in pieces of any size", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: BEGIN, max: before.length }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 300 }),
        (cuts, size) => {
          const stream = concat(...cuts.map((cut) => before.subarray(0, cut)), after);
          const reader = new StreamReader(identity);
          for (let at = 0; at < stream.length; at += size) reader.push(stream.subarray(at, at + size));
          expect(reader.finish()).toEqual(read(after));
        },
      ),
      { numRuns: 30 },
    );
  });

  it("still refuses a new image that is cut short", () => {
    for (let length = BEGIN; length < after.length; length++) {
      expect(verdict(before.subarray(0, 3000), after.subarray(0, length)), `after ${length}`).not.toBe(
        "accepted",
      );
    }
  });

  it("cannot be forged by a guest: a whole stream inside a device's memory is data", () => {
    const stranger = { ...origin, streamId: new Uint8Array(16).fill(7) };
    const planted = write([filled("registers", 24)], stranger);
    const ram = new Uint8Array(1000);
    ram.set(planted, 100);
    const stream = write([section("ram", ram)]);
    expect(read(stream)[0]!.bytes).toEqual(ram);

    // Even when the record around it is damaged, or breaks off just behind it.
    stream[150]! ^= 1;
    expect(verdict(stream)).toBe("damaged");
    const data = stream.length - write([]).length + BEGIN - (HEADER + 1000 + CRC) + HEADER;
    expect(verdict(stream.subarray(0, data + 100 + planted.length))).toBe("incomplete");
  });

  it("does not take a stream of another device for it", () => {
    const other = write([filled("a", 1)], { ...origin, identity: { ...identity, device: 9 } });
    expect(verdict(before.subarray(0, 3000), other)).toBe("other-device");
  });
});

describe("docs/migration-stream.md", () => {
  const doc = readFileSync(new URL("../../../../docs/migration-stream.md", import.meta.url), "utf8");
  const dumps = [...doc.matchAll(/```hexdump\n([^`]*)\n```/g)].map(([, dump]) => dump);

  it("shows the bytes of a real stream", () => {
    const example = write([
      section("value", Uint8Array.of(0x2a, 0, 0, 0)),
      section("fifo", new TextEncoder().encode("hi"), true, 2),
    ]);
    expect(dumps[0]).toBe(hexdump(example));
  });

  it("shows the bytes of a real stream with pages", () => {
    const tracked = new TrackedMemory(new TextEncoder().encode("abcdef"));
    const { memories } = sections({ ram: trackedMemory(tracked) });
    const writer = new PrecopyWriter(origin, memories!);
    const buffer = new Uint8Array(1000);
    let length = writer.read(buffer);
    tracked.write(2, new TextEncoder().encode("XY"));
    length += writer.read(buffer.subarray(length));
    writer.finish([section("value", Uint8Array.of(0x2a, 0, 0, 0))]);
    length += writer.read(buffer.subarray(length));
    expect(dumps[1]).toBe(hexdump(buffer.subarray(0, length)));
  });
});

/** Sixteen bytes a line, and an empty line between two records. */
function hexdump(stream: Uint8Array): string {
  let offset = 0;
  return records(stream)
    .map((record) => {
      const lines = [];
      for (let at = 0; at < record.length; at += 16) {
        const row = [...record.subarray(at, at + 16)];
        const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
        const text = row
          .map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."))
          .join("");
        lines.push(`${(offset + at).toString(16).padStart(4, "0")}  ${hex.padEnd(47)}  |${text}|`);
      }
      offset += record.length;
      return lines.join("\n");
    })
    .join("\n\n");
}
