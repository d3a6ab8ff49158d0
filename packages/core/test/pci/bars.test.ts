import { describe, expect, it } from "vitest";
import {
  buildConfigSpace,
  ConfigEffect,
  io,
  memory,
  mmio,
  msixTable,
  type BarDeclaration,
  type BuiltConfig,
} from "../../src/pci/index.js";
import { write32, writeOnes } from "./access.js";

const id = { vendor: 0x1b36, device: 0x0002, classCode: 0x088000 };

function build(...bars: BarDeclaration[]): BuiltConfig {
  return buildConfigSpace({ id, bars });
}

/** The numbers of the BARs, in order. */
function slots(built: BuiltConfig): number[] {
  return built.bars.flatMap((bar) => (bar === undefined ? [] : [bar.slot]));
}

describe("sizing: software writes all ones and reads the size mask back (PCI 3.0 §6.2.5.1)", () => {
  it.each([
    ["I/O of 8 bytes", io({ size: 8 }), 0xfffffff9],
    ["I/O of 4 bytes", io({ size: 4 }), 0xfffffffd],
    ["I/O of 256 bytes", io({ size: 256 }), 0xffffff01],
    ["memory of 16 bytes", mmio({ size: 16 }), 0xfffffff0],
    ["memory of 4 KiB", mmio({ size: 4096 }), 0xfffff000],
    ["memory of 2 GiB", mmio({ size: 2 ** 31 }), 0x80000000],
    ["prefetchable memory", mmio({ size: 4096, prefetchable: true }), 0xfffff008],
    ["memory-like, 32 bits", memory({ size: 2 ** 20, width: 32, prefetchable: false }), 0xfff00000],
  ])("%s", (_name, bar, mask) => {
    const { config } = build(bar);
    expect(writeOnes(config, 0x10)).toBe(mask);
    expect(writeOnes(config, 0x14)).toBe(0);
  });

  it.each([
    ["64-bit of 4 KiB", mmio({ size: 4096, width: 64 }), 0xfffff004, 0xffffffff],
    ["64-bit prefetchable of 1 MiB", memory({ size: 2 ** 20 }), 0xfff0000c, 0xffffffff],
    ["64-bit of 2 GiB", mmio({ size: 2 ** 31, width: 64 }), 0x80000004, 0xffffffff],
    ["64-bit of 4 GiB", memory({ size: 2 ** 32 }), 0x0000000c, 0xffffffff],
    ["64-bit of 16 GiB", memory({ size: 2 ** 34 }), 0x0000000c, 0xfffffffc],
    ["64-bit of 4 PiB", memory({ size: 2 ** 52 }), 0x0000000c, 0xfff00000],
  ])("%s", (_name, bar, low, high) => {
    const { config } = build(bar);
    expect(writeOnes(config, 0x10)).toBe(low);
    expect(writeOnes(config, 0x14)).toBe(high);
  });

  it("a register without a BAR reads as 0", () => {
    const { config } = build(io({ size: 8 }));
    for (let offset = 0x14; offset <= 0x30; offset += 4) {
      if (offset === 0x28 || offset === 0x2c) continue;
      expect(writeOnes(config, offset)).toBe(0);
    }
  });

  it("an address keeps the bits above the size, and the type stays", () => {
    const { config } = build(io({ size: 8 }), memory({ size: 2 ** 20 }));
    expect(write32(config, 0x10, 0x0000e00f)).toBe(ConfigEffect.BARS);
    expect(config.get32(0x10)).toBe(0xe009);
    expect(write32(config, 0x18, 8)).toBe(ConfigEffect.BARS);
    expect(write32(config, 0x18, 8)).toBe(0);
    expect(config.get32(0x18)).toBe(8);
  });
});

describe("BAR numbers", () => {
  it("follow the declarations, a 64-bit BAR takes two", () => {
    expect(
      slots(
        build(io({ size: 8 }), memory({ size: 4096 }), mmio({ size: 16 }), mmio({ size: 16, width: 64 })),
      ),
    ).toEqual([0, 1, 3, 4]);
  });

  it("can be given, and leave others empty", () => {
    const built = build(mmio({ size: 16 }), msixTable({ vectors: 1, slot: 4 }));
    expect(slots(built)).toEqual([0, 4]);
    expect(built.bars).toHaveLength(6);
    expect(writeOnes(built.config, 0x20)).toBe(0xffffe000);
  });
});

describe("wrong declarations are refused, by BAR and rule", () => {
  it.each([
    [io({ size: 2 }), /BAR 0: size 2; io BARs are a power of two from 4 to 256 bytes/],
    [io({ size: 512 }), /BAR 0: size 512; io BARs/],
    [io({ size: 12 }), /BAR 0: size 12; io BARs/],
    [mmio({ size: 8 }), /BAR 0: size 8; mmio BARs are a power of two from 16 to 2147483648 bytes/],
    [mmio({ size: 4097 }), /BAR 0: size 4097/],
    [mmio({ size: 0 }), /BAR 0: size 0/],
    [mmio({ size: NaN }), /BAR 0: size NaN/],
    [mmio({ size: -4096 }), /BAR 0: size -4096/],
    [mmio({ size: 2 ** 32 }), /BAR 0: size 4294967296/],
    [memory({ size: 2 ** 53 }), /BAR 0: size 9007199254740992; memory BARs are .* to 4503599627370496 bytes/],
    [mmio({ size: 16, slot: 6 }), /BAR 6: needs 1 of the base address registers, which end with BAR 5/],
    [mmio({ size: 16, width: 64, slot: 5 }), /BAR 5: needs 2 of the base address registers/],
    [mmio({ size: 16, slot: 0.5 }), /BAR 0.5: taken, or out of order/],
    [
      memory({ size: 8192, mappable: [{ offset: 0, size: 100 }] }),
      /BAR 0: mappable area at 0 of 100 bytes: .* pages/,
    ],
    [
      memory({ size: 8192, mappable: [{ offset: 512, size: 4096 }] }),
      /BAR 0: mappable area at 512 .* whole pages/,
    ],
    [
      memory({ size: 8192, mappable: [{ offset: 4096, size: 8192 }] }),
      /BAR 0: mappable area .* leaves the BAR's 8192/,
    ],
    [memory({ size: 8192, mappable: [{ offset: 0, size: 0 }] }), /BAR 0: mappable area at 0 of 0 bytes/],
    [
      memory({
        size: 16384,
        mappable: [
          { offset: 0, size: 8192 },
          { offset: 4096, size: 4096 },
        ],
      }),
      /BAR 0: mappable area at 4096 of 4096 bytes: overlaps/,
    ],
    [
      mmio({ size: 16, ioEvents: [{ offset: 14, size: 4 }] }),
      /BAR 0: ioEvent at 14 of 4 bytes leaves the BAR's 16/,
    ],
  ])("%o", (bar, message) => {
    expect(() => build(bar)).toThrow(message);
  });

  it("two in one register", () => {
    expect(() => build(mmio({ size: 16, width: 64 }), io({ size: 8, slot: 1 }))).toThrow(
      /EINVAL: BAR 1: taken/,
    );
  });

  it("more than there are registers for", () => {
    const four = Array.from({ length: 4 }, () => memory({ size: 4096 }));
    expect(() => build(...four)).toThrow(/BAR 6: needs 2 of the base address registers/);
  });
});

describe("memory-like BARs", () => {
  it("can be mapped whole by default, when there is a page of them", () => {
    expect(memory({ size: 65536 }).mappable).toEqual([{ offset: 0, size: 65536 }]);
    expect(memory({ size: 2048 }).mappable).toEqual([]);
    expect(memory({ size: 65536, mappable: [] }).mappable).toEqual([]);
  });
});

describe("expansion ROM (PCI 3.0 §6.2.5.2)", () => {
  it("is 2 KiB at least, and the next power of two above", () => {
    expect(writeOnes(buildConfigSpace({ id, rom: new Uint8Array(1) }).config, 0x30)).toBe(0xfffff801);
    expect(writeOnes(buildConfigSpace({ id, rom: new Uint8Array(2049) }).config, 0x30)).toBe(0xfffff001);
    expect(writeOnes(buildConfigSpace({ id, rom: new Uint8Array(65536) }).config, 0x30)).toBe(0xffff0001);
  });

  it("its enable bit is its own, and reported", () => {
    const { config } = buildConfigSpace({ id, rom: new Uint8Array(100) });
    expect(config.get32(0x30)).toBe(0);
    expect(write32(config, 0x30, 1)).toBe(ConfigEffect.ROM);
  });

  it("holds its contents, and ones where they end", () => {
    const { rom } = buildConfigSpace({ id, rom: Uint8Array.of(0x55, 0xaa) });
    expect(rom!.size).toBe(2048);
    expect(rom!.bytes).toHaveLength(2048);
    expect([...rom!.bytes.subarray(0, 3)]).toEqual([0x55, 0xaa, 0xff]);
  });

  it.each([0, 2 ** 24 + 1])("of %d bytes is refused", (length) => {
    expect(() => buildConfigSpace({ id, rom: new Uint8Array(length) })).toThrow(/EINVAL: ROM: .* bytes/);
  });

  it("a function without one has no register for it", () => {
    expect(writeOnes(build().config, 0x30)).toBe(0);
  });
});
