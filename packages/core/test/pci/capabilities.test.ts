import { describe, expect, it } from "vitest";
import {
  aer,
  af,
  buildConfigSpace,
  ConfigEffect,
  dsn,
  express,
  msi,
  msix,
  msixTable,
  pm,
  vendorSpecific,
  type CapabilityDeclaration,
  type ConfigSpace,
} from "../../src/pci/index.js";
import { write16, write32, write8, writeOnes } from "./access.js";

const id = { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 };
/** Where the only capability of a function is. */
const CAP = 0x40;
const EXTENDED_CAP = 0x100;

function build(...capabilities: CapabilityDeclaration[]): ConfigSpace {
  return buildConfigSpace({ id, bars: [msixTable({ vectors: 2048 })], capabilities }).config;
}

describe("power management (PCI PM 1.2 §3.2)", () => {
  it("PMC: version 3, D1 and D2 and PME as declared, read-only", () => {
    expect(build(pm()).get16(CAP + 2)).toBe(0x0003);
    expect(build(pm({ d1: true, d2: true })).get16(CAP + 2)).toBe(0x0603);
    const config = build(pm({ pme: true }));
    write16(config, CAP + 2, 0xffff);
    expect(config.get16(CAP + 2)).toBe(0x4803);
  });

  it("PMCSR: No_Soft_Reset is read-only, as declared", () => {
    expect(build(pm()).get16(CAP + 4)).toBe(0x0008);
    const config = build(pm({ noSoftReset: false }));
    write16(config, CAP + 4, 0x0008);
    expect(config.get16(CAP + 4)).toBe(0x0000);
  });

  it("a change of power state is reported, and reads back", () => {
    const config = build(pm());
    expect(write16(config, CAP + 4, 3)).toBe(ConfigEffect.POWER_STATE);
    expect(config.get16(CAP + 4)).toBe(0x000b);
    expect(write16(config, CAP + 4, 3)).toBe(0);
    expect(write16(config, CAP + 4, 0)).toBe(ConfigEffect.POWER_STATE);
  });

  it("a power state that the function lacks is discarded", () => {
    const config = build(pm({ d1: true }));
    write16(config, CAP + 4, 3);
    expect(write16(config, CAP + 4, 2)).toBe(0);
    expect(config.get16(CAP + 4) & 3).toBe(3);
    expect(write16(config, CAP + 4, 1)).toBe(ConfigEffect.POWER_STATE);
    expect(config.get16(CAP + 4) & 3).toBe(1);
  });

  it("PME enable is software's, PME status is cleared by writing 1, where there is PME", () => {
    const config = build(pm({ pme: true }));
    config.assign16(CAP + 4, 0x8000, true);
    write16(config, CAP + 4, 0x0100);
    expect(config.get16(CAP + 4)).toBe(0x8108);
    write16(config, CAP + 4, 0x8100);
    expect(config.get16(CAP + 4)).toBe(0x0108);
    const without = build(pm());
    write16(without, CAP + 4, 0x8100);
    expect(without.get16(CAP + 4)).toBe(0x0008);
  });
});

describe("PCI Express (PCIe 6.0 §7.5.3)", () => {
  it("version 2, and the type", () => {
    expect(build(express()).get16(CAP + 2)).toBe(0x0002);
    expect(build(express({ type: "legacyEndpoint" })).get16(CAP + 2)).toBe(0x0012);
    expect(build(express({ type: "rootComplexIntegrated" })).get16(CAP + 2)).toBe(0x0092);
  });

  it("initiate FLR: reported each time, reads as 0", () => {
    const config = build(express());
    expect(config.get32(CAP + 4) & 0x10000000).toBe(0x10000000);
    for (let i = 0; i < 2; i++) {
      expect(write16(config, CAP + 8, 0x8000 | config.get16(CAP + 8))).toBe(ConfigEffect.FLR_PCIE);
      expect(config.get16(CAP + 8) & 0x8000).toBe(0);
    }
    expect(write8(config, CAP + 9, 0x80)).toBe(ConfigEffect.FLR_PCIE);
  });

  it("a function without FLR does not say so, and ignores the bit", () => {
    const config = build(express({ flr: false }));
    expect(config.get32(CAP + 4) & 0x10000000).toBe(0);
    expect(write16(config, CAP + 8, 0x8000)).toBe(0);
  });

  it("device control starts with relaxed ordering, no snoop and 512-byte reads", () => {
    const config = build(express());
    expect(config.get16(CAP + 8)).toBe(0x2810);
    write16(config, CAP + 8, 0x7fff);
    expect(config.get16(CAP + 8)).toBe(0x78ff);
  });

  it("device status: detected errors are cleared by writing 1, the rest is the device's", () => {
    const config = build(express());
    config.set16(CAP + 10, 0x003f);
    write16(config, CAP + 10, 0xffff);
    expect(config.get16(CAP + 10)).toBe(0x0030);
  });

  it("the link runs at what it is capable of", () => {
    const config = build(express({ generation: 4, lanes: 8 }));
    expect(config.get32(CAP + 12)).toBe(0x84);
    expect(config.get16(CAP + 18)).toBe(0x84);
    expect(config.get32(CAP + 44)).toBe(0b11110);
    expect(config.get16(CAP + 48)).toBe(4);
  });

  it("inside the root complex there is no link: its registers are 0 and stay so", () => {
    const config = build(express({ type: "rootComplexIntegrated" }));
    for (const offset of [12, 16, 44, 48]) expect(writeOnes(config, CAP + offset)).toBe(0);
  });
});

describe("Advanced Features", () => {
  it("length 6, transactions pending and FLR", () => {
    expect(build(af()).get32(CAP)).toBe(0x03060013);
  });

  it("initiate FLR: reported each time, reads as 0", () => {
    const config = build(af());
    expect(write8(config, CAP + 4, 0xff)).toBe(ConfigEffect.FLR_AF);
    expect(config.get8(CAP + 4)).toBe(0);
    expect(write8(config, CAP + 4, 0x01)).toBe(ConfigEffect.FLR_AF);
    expect(write8(config, CAP + 4, 0xfe)).toBe(0);
  });

  it("transactions pending is the device's", () => {
    const config = build(af());
    config.set8(CAP + 5, 1);
    write8(config, CAP + 5, 0);
    expect(config.get8(CAP + 5)).toBe(1);
  });
});

describe("MSI (PCI 3.0 §6.8.1)", () => {
  it.each([
    [{ address64: false, perVectorMask: false }, 10, 0x0004],
    [{ address64: true, perVectorMask: false }, 14, 0x0084],
    [{ address64: false, perVectorMask: true }, 20, 0x0104],
    [{ address64: true, perVectorMask: true }, 24, 0x0184],
  ])("%o: %d bytes, message control", (options, size, control) => {
    const capability = msi({ vectors: 4, ...options });
    expect(capability.size).toBe(size);
    expect(build(capability).get16(CAP + 2)).toBe(control);
  });

  it("enable and multiple message enable report, and no more than it is capable of is enabled", () => {
    const config = build(msi({ vectors: 4 }));
    expect(write16(config, CAP + 2, 0x0001)).toBe(ConfigEffect.MSI);
    expect(write16(config, CAP + 2, 0x0021)).toBe(ConfigEffect.MSI);
    expect(config.get16(CAP + 2)).toBe(0x00a5);
    expect(write16(config, CAP + 2, 0x0071)).toBe(0);
    expect(config.get16(CAP + 2)).toBe(0x00a5);
  });

  it("address and data are software's, in their places", () => {
    const wide = build(msi());
    expect([4, 8, 12].map((offset) => writeOnes(wide, CAP + offset))).toEqual([
      0xfffffffc, 0xffffffff, 0x0000ffff,
    ]);
    const narrow = build(msi({ address64: false }));
    expect([4, 8, 12].map((offset) => writeOnes(narrow, CAP + offset))).toEqual([0xfffffffc, 0x0000ffff, 0]);
  });

  it("mask bits are software's, for each vector, and report; pending bits are the device's", () => {
    const capability = msi({ vectors: 8, perVectorMask: true });
    const config = build(capability);
    expect(write32(config, CAP + capability.registers.mask, 0xffffffff)).toBe(ConfigEffect.MSI_MASK);
    expect(config.get32(CAP + capability.registers.mask)).toBe(0xff);
    config.set32(CAP + capability.registers.pending, 5);
    write32(config, CAP + capability.registers.pending, 0);
    expect(config.get32(CAP + capability.registers.pending)).toBe(5);
    expect(writeOnes(build(msi({ vectors: 32, perVectorMask: true })), CAP + 16)).toBe(0xffffffff);
    expect(writeOnes(build(msi({ vectors: 1, perVectorMask: true })), CAP + 16)).toBe(1);
  });

  it.each([0, 3, 64, 1.5])("%d vectors are refused", (vectors) => {
    expect(() => msi({ vectors })).toThrow(/EINVAL: MSI: .* vectors; a function has a power of two/);
  });
});

describe("MSI-X capability (PCI 3.0 §6.8.2)", () => {
  it("table size is read-only and one less, enable and function mask are software's and report", () => {
    const config = build(msix({ vectors: 2048, bar: 0 }));
    expect(config.get16(CAP + 2)).toBe(0x07ff);
    expect(write16(config, CAP + 2, 0x8000)).toBe(ConfigEffect.MSIX);
    expect(write16(config, CAP + 2, 0xc000)).toBe(ConfigEffect.MSIX);
    expect(write16(config, CAP + 2, 0xffff)).toBe(0);
    expect(config.get16(CAP + 2)).toBe(0xc7ff);
  });

  it("table and pending bits: which BAR and where, read-only", () => {
    const config = build(msix({ vectors: 2048, bar: 0 }));
    expect(writeOnes(config, CAP + 4)).toBe(0);
    expect(writeOnes(config, CAP + 8)).toBe(0x8000);
  });

  it.each([0, 2049, NaN])("%d vectors are refused", (vectors) => {
    expect(() => msix({ vectors, bar: 0 })).toThrow(/EINVAL: MSI-X: .* vectors; a function has 1 to 2048/);
  });

  it("a place that is not a multiple of 8 is refused", () => {
    const place = { bar: 0, offset: 4 };
    expect(() => msix({ vectors: 1, table: place, pba: { bar: 0, offset: 64 } })).toThrow(
      /MSI-X table: offset 4/,
    );
    expect(() => msix({ vectors: 1, table: { bar: 0, offset: 0 }, pba: place })).toThrow(
      /MSI-X pending bits: offset 4/,
    );
  });
});

describe("vendor-specific", () => {
  it("length, contents, and what of them can be written", () => {
    const config = build(
      vendorSpecific({ contents: Uint8Array.of(0x11, 0x22, 0x33), writable: Uint8Array.of(0xf0, 0, 0xff) }),
    );
    expect(config.get8(CAP + 2)).toBe(6);
    write32(config, CAP + 3, 0xffffffff);
    expect(config.get32(CAP + 3)).toBe(0x00ff22f1);
  });

  it("contents or masks that do not fit are refused", () => {
    expect(() => vendorSpecific({ contents: new Uint8Array(253) })).toThrow(/EINVAL: vendor-specific/);
    expect(() => vendorSpecific({ contents: new Uint8Array(2), writable: new Uint8Array(3) })).toThrow(
      /mask of 3/,
    );
  });
});

describe("Advanced Error Reporting (PCIe 6.0 §7.8.4)", () => {
  const UNCORRECTABLE = 0x005ff010;
  const CORRECTABLE = 0x000031c1;

  it("masks and severity start as the specification says", () => {
    const config = build(express(), aer());
    expect([8, 12, 20].map((offset) => config.get32(EXTENDED_CAP + offset))).toEqual([
      0x00400000, 0x00462010, 0x2000,
    ]);
  });

  it("status is cleared by writing 1, masks and severity are software's", () => {
    const config = build(express(), aer());
    config.set32(EXTENDED_CAP + 4, UNCORRECTABLE);
    config.set32(EXTENDED_CAP + 16, CORRECTABLE);
    write32(config, EXTENDED_CAP + 4, 0x00001000);
    write32(config, EXTENDED_CAP + 16, 0x00000001);
    expect(config.get32(EXTENDED_CAP + 4)).toBe(UNCORRECTABLE & ~0x1000);
    expect(config.get32(EXTENDED_CAP + 16)).toBe(CORRECTABLE & ~1);
    expect([8, 12, 20].map((offset) => writeOnes(config, EXTENDED_CAP + offset))).toEqual([
      UNCORRECTABLE,
      UNCORRECTABLE,
      CORRECTABLE,
    ]);
  });

  it("the header log is the device's", () => {
    const config = build(express(), aer());
    config.set32(EXTENDED_CAP + 28, 0xdeadbeef);
    expect(writeOnes(config, EXTENDED_CAP + 28)).toBe(0xdeadbeef);
  });
});

describe("Device Serial Number (PCIe 6.0 §7.9.3)", () => {
  it("64 bits, the lower half first, read-only", () => {
    const config = build(express(), dsn(0x0011223344556677n));
    expect(writeOnes(config, EXTENDED_CAP + 4)).toBe(0x44556677);
    expect(writeOnes(config, EXTENDED_CAP + 8)).toBe(0x00112233);
  });

  it.each([-1n, 2n ** 64n])("%s is refused", (serial) => {
    expect(() => dsn(serial)).toThrow(/EINVAL: device serial number/);
  });
});
