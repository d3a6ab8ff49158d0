import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VfioError } from "../../src/errno.js";
import {
  aer,
  af,
  buildConfigSpace,
  ConfigEffect,
  ConfigSpace,
  dsn,
  express,
  io,
  memory,
  msi,
  msix,
  msixTable,
  pm,
  vendorSpecific,
} from "../../src/pci/index.js";
import { ConfigLayout } from "../../src/pci/layout.js";
import { write16, write32, write8 } from "./access.js";

const everything = {
  id: { vendor: 0x1b36, device: 0x0002, classCode: 0x070002, revision: 3 },
  bars: [io({ size: 8 }), msixTable({ vectors: 4 }), memory({ size: 2 ** 33 })],
  rom: new Uint8Array(5000),
  interruptPin: "A",
  capabilities: [
    pm({ pme: true }),
    express(),
    msi({ vectors: 4, perVectorMask: true }),
    msix({ vectors: 4, bar: 1 }),
    af(),
    vendorSpecific({ contents: Uint8Array.of(1, 2), writable: Uint8Array.of(0xff, 0) }),
    aer(),
    dsn(7n),
  ],
} as const;

/** A 16-byte space with one 32-bit field of each access at 0, 4, 8 and 12. */
function sample(): ConfigSpace {
  const layout = new ConfigLayout(16);
  const fields = layout.at(0);
  fields.u32(0, 0x12345678);
  fields.u32(4, 0x000000ff, { rw: 0x0000ffff });
  fields.u32(8, 0x0f00000f, { w1c: 0xff0000ff });
  fields.u32(12, 0, { action: 0x80000000, rw: 0x1 });
  fields.watch(4, 0x00000f00, 1);
  fields.watch(4, 0x0000f000, 2);
  fields.watch(8, 0xff000000, 4);
  fields.watch(12, 0x80000000, 8);
  return new ConfigSpace(layout);
}

describe("fields", () => {
  it("read-only bits keep their power-on value", () => {
    const config = sample();
    expect(write32(config, 0, 0xffffffff)).toBe(0);
    expect(config.get32(0)).toBe(0x12345678);
  });

  it("read-write bits take what is written, the bits around them do not", () => {
    const config = sample();
    write32(config, 4, 0xa5a5a5a5);
    expect(config.get32(4)).toBe(0x0000a5a5);
  });

  it("write-1-to-clear bits are cleared by 1 and left by 0", () => {
    const config = sample();
    write32(config, 8, 0x01000002);
    expect(config.get32(8)).toBe(0x0e00000d);
    write32(config, 8, 0xffffffff);
    expect(config.get32(8)).toBe(0);
    config.set32(8, 0x80000000);
    write32(config, 8, 0);
    expect(config.get32(8)).toBe(0x80000000);
  });

  it("action bits read as 0", () => {
    const config = sample();
    write32(config, 12, 0xffffffff);
    expect(config.get32(12)).toBe(1);
  });
});

describe("effects", () => {
  it("a watched bit that changes is reported, one that is written as it was is not", () => {
    const config = sample();
    expect(write32(config, 4, 0x000001ff)).toBe(1);
    expect(write32(config, 4, 0x000001ff)).toBe(0);
    expect(write32(config, 4, 0x00001000)).toBe(1 | 2);
    expect(write32(config, 4, 0x000010ff)).toBe(0);
  });

  it("a status bit that is cleared is reported", () => {
    const config = sample();
    expect(write32(config, 8, 0x01000000)).toBe(4);
    expect(write32(config, 8, 0x01000000)).toBe(0);
  });

  it("an action is reported each time that 1 is written", () => {
    const config = sample();
    expect(write32(config, 12, 0x80000000)).toBe(8);
    expect(write32(config, 12, 0x80000000)).toBe(8);
    expect(write32(config, 12, 0x00000001)).toBe(0);
  });

  it("bytes report as the words that they make", () => {
    const config = sample();
    expect(write8(config, 5, 0x11)).toBe(1 | 2);
    expect(write8(config, 15, 0x80)).toBe(8);
    expect(write8(config, 12, 0x80)).toBe(0);
  });

  it("the device's own writes report nothing and pass every mask", () => {
    const config = sample();
    config.set32(0, 0xcafe0000);
    config.set16(4, 0xffff);
    config.set8(15, 0xff);
    expect([config.get32(0), config.get16(4), config.get8(15)]).toEqual([0xcafe0000, 0xffff, 0xff]);
    config.assign16(4, 0x0ff0, false);
    expect(config.get16(4)).toBe(0xf00f);
    config.assign16(4, 0x0010, true);
    expect(config.get16(4)).toBe(0xf01f);
  });
});

describe("bounds", () => {
  it.each([
    [16, 1],
    [15, 2],
    [0, 17],
    [-1, 1],
    [0, -1],
    [2 ** 40, 4],
  ])("offset %d, count %d: EINVAL, and nothing is written", (offset, count) => {
    const config = sample();
    const before = config.snapshot();
    const bytes = new Uint8Array(32).fill(0xff);
    expect(() => config.read(offset, count, bytes, 0)).toThrow(VfioError);
    expect(() => config.write(offset, bytes, 0, count)).toThrow(
      /EINVAL: configuration space: offset .* 16 bytes/,
    );
    expect(config.snapshot()).toEqual(before);
    expect(bytes.every((byte) => byte === 0xff)).toBe(true);
  });

  it("the last byte, and nothing at the end", () => {
    const config = sample();
    const into = new Uint8Array(4);
    config.read(15, 1, into, 3);
    config.read(16, 0, into, 0);
    expect(config.write(16, into, 0, 0)).toBe(0);
  });

  it("reads and writes of any size and alignment use the buffer from where they are told", () => {
    const config = sample();
    const into = new Uint8Array(8);
    config.read(1, 3, into, 2);
    expect([...into]).toEqual([0, 0, 0x56, 0x34, 0x12, 0, 0, 0]);
    config.write(3, Uint8Array.of(9, 9, 0xaa, 0xbb), 1, 3);
    expect(config.get32(0)).toBe(0x12345678);
    expect(config.get16(4)).toBe(0xbbaa);
  });
});

describe("properties of a whole function", () => {
  const { config, capabilities } = buildConfigSpace(everything);
  const powerOn = config.snapshot();

  /** What software can change of it, by the specifications: offset in configuration space, bits. */
  const { pm: pmCap, express: exp, msi: msiCap, msix: msixCap, aer: aerCap } = capabilities;
  const readWrite: readonly (readonly [number, number])[] = [
    [0x04, 0x0547], // I/O, Mem, BusMaster, ParErr, SERR, DisINTx
    [0x0c, 0xff], // cache line size
    [0x10, 0xfffffff8], // I/O of 8 bytes
    [0x14, 0xffffe000], // memory of 8 KiB
    [0x1c, 0xfffffffe], // upper half of 8 GiB
    [0x30, 0xffffe001], // ROM of 8 KiB
    [0x3c, 0xff], // interrupt line
    [pmCap!.offset + 4, 0x0103], // power state, PME enable
    [exp!.offset + 8, 0x78ff], // device control, less extended tags, phantom functions, auxiliary power, FLR
    [exp!.offset + 16, 0x00cb], // link control
    [exp!.offset + 40, 0x0010], // completion timeout disable
    [exp!.offset + 48, 0x000f], // target link speed
    [msiCap!.offset + 2, 0x0071],
    [msiCap!.offset + 4, 0xfffffffc],
    [msiCap!.offset + 8, 0xffffffff],
    [msiCap!.offset + 12, 0xffff],
    [msiCap!.offset + 16, 0x0000000f], // masks of 4 vectors
    [msixCap!.offset + 2, 0xc000],
    [capabilities.vendorSpecific[0]!.offset + 3, 0xff],
    [aerCap!.offset + 8, 0x005ff010],
    [aerCap!.offset + 12, 0x005ff010],
    [aerCap!.offset + 20, 0x000031c1],
  ];
  const writeOneToClear: readonly (readonly [number, number])[] = [
    [0x06, 0xf900],
    [pmCap!.offset + 4, 0x8000],
    [exp!.offset + 10, 0x000f],
    [aerCap!.offset + 4, 0x005ff010],
    [aerCap!.offset + 16, 0x000031c1],
  ];
  const changeable = maskOf(readWrite);
  const state = maskOf([...readWrite, ...writeOneToClear]);

  function maskOf(fields: readonly (readonly [number, number])[]): Uint8Array {
    const mask = new Uint8Array(config.size);
    for (const [offset, bits] of fields) for (let i = 0; i < 4; i++) mask[offset + i]! |= bits >>> (8 * i);
    return mask;
  }

  /** Where bytes first differ in bits outside of a mask; -1: nowhere. */
  function difference(a: Uint8Array, b: Uint8Array, ignored: Uint8Array = new Uint8Array(a.length)): number {
    return a.findIndex((byte, i) => ((byte ^ b[i]!) & ~ignored[i]!) !== 0);
  }

  function play(sequence: readonly { offset: number; bytes: Uint8Array }[]): void {
    for (const { offset, bytes } of sequence) {
      config.write(offset, bytes, 0, Math.min(bytes.length, config.size - offset));
    }
  }

  const writes = fc.array(
    fc.record({
      offset: fc.oneof(fc.nat(0x150), fc.nat(4095)),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    }),
  );

  it("software changes what it should be able to change", () => {
    config.reset();
    config.write(0, new Uint8Array(config.size).fill(0xff), 0, config.size);
    const ones = config.snapshot();
    config.write(0, new Uint8Array(config.size), 0, config.size);
    const zeros = config.snapshot();
    // 5 of the 8 codes of MSI's multiple message enable are beyond what the function is capable of.
    const clamped = maskOf([[msiCap!.offset + 2, 0x50]]);
    expect(
      difference(
        ones.map((byte, i) => byte ^ zeros[i]!),
        changeable,
        clamped,
      ),
    ).toBe(-1);
  });

  it("no sequence of writes changes a read-only bit", () => {
    fc.assert(
      fc.property(writes, (sequence) => {
        config.reset();
        play(sequence);
        expect(difference(config.snapshot(), powerOn, changeable)).toBe(-1);
      }),
    );
  });

  it("reset restores every power-on byte", () => {
    fc.assert(
      fc.property(writes, (sequence) => {
        play(sequence);
        config.set16(0x06, 0xffff);
        config.reset();
        expect(difference(config.snapshot(), powerOn)).toBe(-1);
      }),
    );
  });

  it("a read returns what snapshot shows", () => {
    fc.assert(
      fc.property(fc.nat(4095), fc.nat(64), (offset, length) => {
        const count = Math.min(length, config.size - offset);
        const into = new Uint8Array(count);
        config.read(offset, count, into, 0);
        expect(into).toEqual(config.snapshot().subarray(offset, offset + count));
      }),
    );
  });

  it("a write of everything reports every effect", () => {
    config.reset();
    const all = Object.values(ConfigEffect).reduce((mask, effect) => mask | effect, 0);
    expect(config.write(0, new Uint8Array(config.size).fill(0xff), 0, config.size)).toBe(all);
  });

  it("a 32-bit write does what four of a byte do", () => {
    const other = buildConfigSpace(everything).config;
    config.reset();
    fc.assert(
      fc.property(fc.nat(0x3fc), fc.uint8Array({ minLength: 4, maxLength: 4 }), (offset, bytes) => {
        const whole = config.write(offset, bytes, 0, 4);
        let parts = 0;
        for (let i = 0; i < 4; i++) parts |= other.write(offset + i, bytes, i, 1);
        expect(parts).toBe(whole);
        expect(difference(other.snapshot(), config.snapshot())).toBe(-1);
      }),
    );
  });

  describe("state for migration", () => {
    it("loading a snapshot gives the other function the same registers", () => {
      const target = buildConfigSpace(everything).config;
      fc.assert(
        fc.property(writes, (sequence) => {
          config.reset();
          play(sequence);
          target.load(config.snapshot());
          expect(difference(target.snapshot(), config.snapshot())).toBe(-1);
        }),
      );
    });

    it("hostile bytes change control and status bits, nothing else", () => {
      const target = buildConfigSpace(everything).config;
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 512, maxLength: 512 }), (bytes) => {
          target.load(new Uint8Array(config.size).map((_, i) => bytes[i % bytes.length]!));
          expect(difference(target.snapshot(), powerOn, state)).toBe(-1);
        }),
      );
    });

    it("status bits that the device has set migrate", () => {
      const target = buildConfigSpace(everything).config;
      config.reset();
      config.set16(0x06, config.get16(0x06) | 0x8000);
      target.load(config.snapshot());
      expect(target.get16(0x06)).toBe(config.get16(0x06));
    });

    it("a power state that the function does not have is not loaded", () => {
      const target = buildConfigSpace(everything).config;
      config.reset();
      const bytes = config.snapshot();
      bytes[capabilities.pm!.offset + 4] = 0x08 | 1;
      target.load(bytes);
      expect(target.get8(capabilities.pm!.offset + 4) & 3).toBe(0);
    });

    it("bytes of another length are refused, and change nothing", () => {
      const before = config.snapshot();
      expect(() => config.load(new Uint8Array(256).fill(0xff))).toThrow(
        /EINVAL: .* 256 bytes to load, .* 4096/,
      );
      expect(config.snapshot()).toEqual(before);
    });
  });

  it("16-bit accesses are little-endian", () => {
    config.reset();
    write16(config, 0x04, 0x0107);
    expect([config.get8(0x04), config.get8(0x05)]).toEqual([0x07, 0x01]);
  });
});
