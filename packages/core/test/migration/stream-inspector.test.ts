import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { describeStream, StreamInspector, type StreamDescription } from "@vfiokit/core/migration";
import { BEGIN, concat, records, recordStarts } from "./forge.js";

const stream = (name: string): Uint8Array =>
  Uint8Array.from(readFileSync(new URL(`./streams/${name}.bin`, import.meta.url)));

/** The sections as "name version size flags: received". */
const lines = ({ sections }: StreamDescription) =>
  sections.map(
    ({ name, version, optional, paged, size, received, complete }) =>
      `${name} ${version} ${size}${optional ? " optional" : ""}${paged ? " paged" : ""}: ` +
      `${complete ? "complete" : "incomplete"}, ${received}`,
  );

describe("a description of a stream", () => {
  it("has what is in it, without a device", () => {
    const image = stream("1-new");
    const description = describeStream(image);
    expect(description).toMatchObject({
      bytes: image.length,
      records: records(image).length,
      begins: 1,
      begin: {
        format: 1,
        identity: { vendor: 0x1b36, device: 0x01ff, classCode: 0x088000, revision: 1 },
        streamId: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
        generation: 0n,
      },
      valid: true,
      problem: undefined,
    });
    expect(lines(description)).toEqual([
      "pci.config 1 4096: complete, 4096",
      "pci.irq 1 2: complete, 2",
      "pci.bar2 1 8192: complete, 8192",
      "registers 2 6: complete, 6",
      "address 1 8: complete, 8",
      "fifo 1 9: complete, 9",
      "queues 1 4: complete, 4",
      "filter 1 4: complete, 4",
      "statistics 1 4 optional: complete, 4",
    ]);
  });

  it("counts pages as often as they came", () => {
    const description = describeStream(stream("2-old"));
    expect(description.begin?.format).toBe(2);
    expect(lines(description)[0]).toBe(`disk 1 ${3 * 4096 + 100} paged: complete, ${4 * 4096 + 200}`);
  });

  it("does not depend on how the stream is cut", () => {
    const image = stream("2-new");
    const whole = describeStream(image);
    for (const size of [1, 100, 5000]) {
      const inspector = new StreamInspector();
      for (let at = 0; at < image.length; at += size) inspector.push(image.subarray(at, at + size));
      expect(inspector.finish()).toEqual(whole);
    }
  });

  it("is there while the stream comes: valid it is at the end", () => {
    const image = stream("1-old");
    const inspector = new StreamInspector();
    inspector.push(image.subarray(0, 5000));
    expect(inspector.description).toMatchObject({ bytes: 5000, valid: false, problem: undefined });
    expect(lines(inspector.description).at(-1)).toBe("pci.bar2 1 8192: incomplete, 0");
    inspector.push(image.subarray(5000));
    expect(inspector.description.valid).toBe(false);
    expect(inspector.finish().valid).toBe(true);
  });

  it("says where a stream is damaged, and what came before", () => {
    const image = stream("1-old");
    const starts = recordStarts(image);
    image[starts[6]! + 20]! ^= 1; // in the memory of the BAR
    const description = describeStream(image);
    expect(description).toMatchObject({
      bytes: image.length,
      records: 6,
      valid: false,
      problem: {
        rule: "damaged",
        offset: starts[6],
        message: `EINVAL: migration stream: at byte ${starts[6]}: checksum does not match`,
      },
    });
    expect(lines(description)).toEqual([
      "pci.config 1 4096: complete, 4096",
      "pci.irq 1 2: complete, 2",
      "pci.bar2 1 8192: incomplete, 0",
    ]);
  });

  it.each<[string, (image: Uint8Array) => Uint8Array, object]>([
    ["cut short", (image) => image.subarray(0, 1000), { rule: "incomplete", offset: 1000 }],
    ["empty", () => new Uint8Array(0), { rule: "incomplete", offset: 0 }],
    ["none", (image) => image.subarray(4), { rule: "not-a-stream", offset: 0 }],
    [
      "in disorder",
      (image) => concat(...records(image).toSpliced(5, 1)),
      { rule: "out-of-order", offset: recordStarts(stream("1-old"))[5]! },
    ],
    ["followed by something", (image) => concat(image, Uint8Array.of(1)), { rule: "incomplete" }],
  ])("says why a stream is not valid: it is %s", (_, change, problem) => {
    expect(describeStream(change(stream("1-old")))).toMatchObject({ valid: false, problem });
  });

  it("is of the last image, where the source started over", () => {
    const [first, second] = [stream("1-old"), stream("2-old")];
    const description = describeStream(concat(first.subarray(0, 3000), second));
    expect(description).toMatchObject({ begins: 2, begin: { format: 2 }, valid: true });
    expect(lines(description)).toEqual(lines(describeStream(second)));
    expect(description.bytes).toBe(3000 + second.length);
    expect(describeStream(first.subarray(0, BEGIN - 1)).begin).toBeUndefined();
  });
});
