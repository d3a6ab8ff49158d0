import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  aer,
  buildConfigSpace,
  describeConfig,
  express,
  formatDescription,
  io,
  memory,
  mmio,
  msi,
  msixTable,
  msix,
  pm,
  type ConfigDescription,
} from "../../src/pci/index.js";

const id = { vendor: 0x1b36, device: 0x0002, classCode: 0x070002, revision: 1 };

/** A function whose bytes a test spoils. */
function sample(): Uint8Array {
  return buildConfigSpace({
    id,
    bars: [io({ size: 8 }), msixTable({ vectors: 4 })],
    interruptPin: "A",
    capabilities: [pm(), msi({ vectors: 2 }), express(), msix({ vectors: 4, bar: 1 }), aer()],
  }).config.snapshot();
}

describe("a description", () => {
  it("is plain data that survives JSON", () => {
    const description = describeConfig(sample(), [8, 8192]);
    expect(JSON.parse(JSON.stringify(description))).toEqual(description);
  });

  it("names what is in the header", () => {
    const { capabilities: _, ...header } = describeConfig(sample(), [8, 8192]);
    expect(header).toMatchObject({
      vendor: 0x1b36,
      device: 0x0002,
      class: 0x0700,
      progIf: 2,
      revision: 1,
      headerType: 0,
      multifunction: false,
      interruptPin: 1,
      bars: [
        { index: 0, space: "io", enabled: false, size: 8 },
        { index: 1, space: "memory", type: "32-bit", prefetchable: false, enabled: false, size: 8192 },
      ],
      problems: [],
    });
    expect(header.status.fields).toMatchObject({ Cap: true, DEVSEL: "fast", INTx: false });
  });

  it("decodes each capability by fields", () => {
    const { capabilities } = describeConfig(sample());
    expect(capabilities.map(({ name, offset, extended }) => [name, offset, extended])).toEqual([
      ["Power Management", 0x40, false],
      ["MSI", 0x48, false],
      ["Express", 0x58, false],
      ["MSI-X", 0x94, false],
      ["Advanced Error Reporting", 0x100, true],
    ]);
    expect(capabilities[1]!.fields).toEqual({
      Enable: false,
      Enabled: 1,
      Capable: 2,
      Maskable: false,
      "64bit": true,
    });
    const table = capabilities[3]!.registers.find((register) => register.name === "Vector table");
    expect(table).toEqual({
      name: "Vector table",
      offset: 0x98,
      value: 1,
      fields: { BAR: 1, Offset: "00000000" },
    });
    expect(capabilities[4]).toMatchObject({ version: 2 });
  });
});

describe("BARs whose sizes are known", () => {
  const bars = [mmio({ size: 16 }), memory({ size: 2 ** 34 }), io({ size: 256 })];
  const { config } = buildConfigSpace({ id, bars, rom: new Uint8Array(3000) });

  it("are shown before software has assigned an address", () => {
    const lines = formatDescription(describeConfig(config.snapshot(), [16, 2 ** 34, 0, 256, 0, 0, 4096]));
    expect(lines.slice(4)).toEqual([
      "\tRegion 0: Memory at <unassigned> (32-bit, non-prefetchable) [disabled] [size=16]",
      "\tRegion 1: Memory at <unassigned> (64-bit, prefetchable) [disabled] [size=16G]",
      "\tRegion 3: I/O ports at <unassigned> [disabled] [size=256]",
      "\tExpansion ROM at <unassigned> [disabled] [size=4K]",
    ]);
  });

  it("above 4 GiB", () => {
    config.set32(0x14, 0x0000000c);
    config.set32(0x18, 0x00000018);
    config.set16(0x04, 2);
    const { bars } = describeConfig(config.snapshot(), [16, 2 ** 34, 0, 256]);
    expect(bars.map((bar) => [bar.index, bar.address])).toEqual([
      [0, undefined],
      [1, "1800000000"],
      [3, undefined],
    ]);
  });

  it.each([
    [4, "4"],
    [1023, "1023"],
    [1024, "1K"],
    [2 ** 20, "1M"],
    [2 ** 30, "1G"],
    [2 ** 40, "1T"],
    [2 ** 52, "4096T"],
  ])("size %d prints as %s", (size, text) => {
    const rom = formatDescription(describeConfig(new Uint8Array(256), [0, 0, 0, 0, 0, 0, size])).at(-1);
    expect(rom).toContain(`[size=${text}]`);
  });
});

describe("the identity line", () => {
  it("has the slot where there is one", () => {
    const description = describeConfig(sample());
    expect(formatDescription(description)[0]).toBe("0700: 1b36:0002 (rev 01) (prog-if 02)");
    expect(formatDescription(description, "00:04.0")[0]).toBe(
      "00:04.0 0700: 1b36:0002 (rev 01) (prog-if 02)",
    );
  });
});

describe("hostile and broken bytes are reported", () => {
  function spoil(change: (bytes: Uint8Array) => void): ConfigDescription {
    const bytes = sample();
    change(bytes);
    return describeConfig(bytes);
  }

  const names = (description: ConfigDescription): string[] =>
    description.capabilities.map(({ name }) => name);

  it("a list that loops", () => {
    const description = spoil((bytes) => (bytes[0x59] = 0x48));
    expect(names(description).slice(0, 4)).toEqual(["Power Management", "MSI", "Express", "<chain looped>"]);
    expect(description.problems).toEqual(["capability pointer 0x48 at 0x59: the list loops"]);
    expect(formatDescription(description)).toContain("\tCapabilities: [48] <chain looped>");
    expect(formatDescription(description).at(-1)).toBe(
      "\t!!! capability pointer 0x48 at 0x59: the list loops",
    );
  });

  it("a capability that points to itself", () => {
    expect(spoil((bytes) => (bytes[0x41] = 0x40)).problems).toEqual([
      "capability pointer 0x40 at 0x41: the list loops",
    ]);
  });

  it("a pointer into the header", () => {
    const description = spoil((bytes) => (bytes[0x34] = 0x10));
    expect(description.capabilities).toEqual([]);
    expect(description.problems).toEqual([
      "capability pointer 0x10 at 0x34: outside of the space for capabilities",
    ]);
  });

  it("a pointer to where nothing answers", () => {
    const description = spoil((bytes) => {
      bytes[0x41] = 0xf0;
      bytes.fill(0xff, 0xf0, 0x100);
    });
    expect(names(description)).toEqual(["Power Management", "<chain broken>"]);
    expect(description.problems).toEqual(["capability pointer 0xf0 at 0x41: nothing answers there"]);
  });

  it("reserved bits in a pointer", () => {
    const description = spoil((bytes) => (bytes[0x34] = 0x43));
    expect(names(description)).toHaveLength(5);
    expect(description.problems).toEqual(["capability pointer 0x43 at 0x34: its two low bits are reserved"]);
  });

  it("an extended list that loops, and one that points back", () => {
    const header = (next: number): number[] => [0x01, 0x00, ((next & 0xf) << 4) | 2, next >> 4];
    expect(spoil((bytes) => bytes.set(header(0x100), 0x100)).problems).toEqual([
      "extended capability pointer 0x100 at 0x100: the list loops",
    ]);
    expect(spoil((bytes) => bytes.set(header(0x040), 0x100)).problems).toEqual([
      "extended capability pointer 0x040 at 0x100: outside of the space for extended capabilities",
    ]);
    expect(spoil((bytes) => bytes.set(header(0xfff), 0x100)).problems).toEqual([
      "extended capability pointer 0xfff at 0x100: its two low bits are reserved",
    ]);
  });

  it("a register that the bytes do not hold", () => {
    const bytes = sample().slice(0, 256);
    bytes.set([0x10, 0x00, 0x02, 0x00], 0xf0);
    bytes[0x34] = 0xf0;
    const { capabilities } = describeConfig(bytes);
    expect(capabilities[0]!.registers.map(({ name }) => name)).toEqual([
      "DevCap",
      "DevCtl",
      "DevSta",
      "LnkCap",
    ]);
  });

  it("an interrupt pin that does not exist", () => {
    const description = spoil((bytes) => (bytes[0x3d] = 7));
    expect(description.problems).toEqual(["interrupt pin 7: there are INTA (1) to INTD (4)"]);
  });

  it("a 64-bit BAR without an upper half", () => {
    const description = spoil((bytes) => bytes.set([0x04, 0, 0, 0xfe], 0x24));
    expect(description.problems).toEqual(["BAR 5: 64-bit, without a register for its upper half"]);
    expect(description.bars.at(-1)).toMatchObject({ index: 5, type: "64-bit" });
    expect(description.bars.at(-1)).not.toHaveProperty("address");
  });

  it("a bridge's header", () => {
    const description = spoil((bytes) => (bytes[0x0e] = 0x81));
    expect(description).toMatchObject({ headerType: 1, multifunction: true, bars: [], capabilities: [] });
    expect(description.problems).toEqual(["header type 1: only type 0 is decoded"]);
  });

  it("fewer than 256 bytes are refused", () => {
    expect(() => describeConfig(new Uint8Array(255))).toThrow(/EINVAL: configuration space: 255 bytes/);
  });

  it("any bytes give a description that prints without a gap", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 256, maxLength: 256 }),
      fc.uint8Array({ minLength: 4096, maxLength: 4096, size: "max" }),
      // Sound but for a few bytes: what gets past the first checks.
      fc.array(fc.tuple(fc.nat(0x1ff), fc.nat(255)), { maxLength: 12 }).map((changes) => {
        const changed = sample();
        for (const [offset, value] of changes) changed[offset] = value;
        return changed;
      }),
    );
    fc.assert(
      fc.property(bytes, fc.array(fc.nat(), { maxLength: 7 }), (contents, sizes) => {
        const lines = formatDescription(describeConfig(contents, sizes));
        expect(lines.filter((line) => /undefined|NaN|\{|\[\]/.test(line))).toEqual([]);
        expect(lines.length).toBeLessThan(2000);
      }),
      { numRuns: 500 },
    );
  });
});
