import { describe, expect, it } from "vitest";
import {
  aer,
  af,
  buildConfigSpace,
  ConfigEffect,
  dsn,
  express,
  io,
  memory,
  mmio,
  msi,
  msix,
  msixTable,
  pm,
  vendorSpecific,
  type ConfigDefinition,
} from "../../src/pci/index.js";
import { write16, write32, write8 } from "./access.js";

const id = { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 };

function build(definition: Partial<ConfigDefinition> = {}) {
  return buildConfigSpace({ id, ...definition });
}

describe("header (PCI 3.0 §6.1)", () => {
  it("identity", () => {
    const { config } = build({
      id: {
        vendor: 0x8086,
        device: 0x1234,
        classCode: 0x010802,
        revision: 0x0a,
        subsystemVendor: 0x1af4,
        subsystem: 0x1100,
      },
    });
    expect(config.get32(0x00)).toBe(0x12348086);
    expect(config.get32(0x08)).toBe(0x0108020a);
    expect(config.get32(0x2c)).toBe(0x11001af4);
  });

  it("the subsystem is the function's own ids where none is given, and the revision 0", () => {
    const { config } = build();
    expect(config.get32(0x2c)).toBe(0x01011b36);
    expect(config.get8(0x08)).toBe(0);
  });

  it.each([
    ["vendor", { vendor: 0x10000 }],
    ["device", { device: -1 }],
    ["classCode", { classCode: 0x1000000 }],
    ["revision", { revision: 256 }],
    ["subsystem", { subsystem: 1.5 }],
  ])("%s out of range is refused", (name, wrong) => {
    expect(() => build({ id: { ...id, ...wrong } })).toThrow(
      new RegExp(`EINVAL: id.${name}: .* is not an unsigned`),
    );
  });

  it("ids cannot be written", () => {
    const { config } = build();
    const before = [config.get32(0x00), config.get32(0x08), config.get32(0x2c)];
    for (const offset of [0x00, 0x08, 0x2c]) expect(write32(config, offset, 0xffffffff)).toBe(0);
    expect([config.get32(0x00), config.get32(0x08), config.get32(0x2c)]).toEqual(before);
  });

  it("multifunction is bit 7 of the header type", () => {
    expect(build().config.get8(0x0e)).toBe(0x00);
    expect(build({ multifunction: true }).config.get8(0x0e)).toBe(0x80);
  });

  it.each([
    ["A", 1],
    ["B", 2],
    ["C", 3],
    ["D", 4],
  ] as const)("interrupt pin INT%s is read-only, interrupt line is software's", (interruptPin, pin) => {
    const { config } = build({ interruptPin });
    write16(config, 0x3c, 0xff0b);
    expect(config.get16(0x3c)).toBe((pin << 8) | 0x0b);
  });

  it("the latency timer is for conventional PCI", () => {
    const conventional = build().config;
    write8(conventional, 0x0d, 0xff);
    expect(conventional.get8(0x0d)).toBe(0xf8);
    const pcie = build({ capabilities: [express()] }).config;
    write8(pcie, 0x0d, 0xff);
    expect(pcie.get8(0x0d)).toBe(0);
  });
});

describe("command register: bits that the function has (PCI 3.0 §6.2.2)", () => {
  it.each([
    ["nothing", {}, 0x0144],
    ["an I/O BAR", { bars: [io({ size: 8 })] }, 0x0145],
    ["a memory BAR", { bars: [mmio({ size: 16 })] }, 0x0146],
    ["a ROM", { rom: new Uint8Array(1) }, 0x0146],
    ["an interrupt pin", { interruptPin: "A" }, 0x0544],
  ] as const)("%s", (_name, definition, expected) => {
    const { config } = build(definition);
    write16(config, 0x04, 0xffff);
    expect(config.get16(0x04)).toBe(expected);
  });

  it("decode, bus mastering and INTx disable report, error enables do not", () => {
    const { config } = build({ bars: [io({ size: 8 }), mmio({ size: 16 })], interruptPin: "A" });
    expect(write16(config, 0x04, 0x0001)).toBe(ConfigEffect.COMMAND);
    expect(write16(config, 0x04, 0x0003)).toBe(ConfigEffect.COMMAND);
    expect(write16(config, 0x04, 0x0007)).toBe(ConfigEffect.COMMAND);
    expect(write16(config, 0x04, 0x0147)).toBe(0);
    expect(write16(config, 0x04, 0x0547)).toBe(ConfigEffect.INTX_DISABLE);
    expect(write16(config, 0x04, 0x0000)).toBe(ConfigEffect.COMMAND | ConfigEffect.INTX_DISABLE);
  });
});

describe("status register (PCI 3.0 §6.2.3)", () => {
  it("error bits are cleared by writing 1, the rest is read-only", () => {
    const { config } = build({ capabilities: [pm()] });
    config.set16(0x06, 0xffff);
    write16(config, 0x06, 0x8100);
    expect(config.get16(0x06)).toBe(0x7eff);
    write16(config, 0x06, 0xffff);
    expect(config.get16(0x06)).toBe(0x06ff);
  });

  it("the capability list bit says whether there is one", () => {
    expect(build().config.get16(0x06) & 0x10).toBe(0);
    expect(build().config.get8(0x34)).toBe(0);
    expect(build({ capabilities: [pm()] }).config.get16(0x06) & 0x10).toBe(0x10);
  });
});

describe("chain of capabilities (PCI 3.0 §6.7)", () => {
  it("starts at 0x40, in order of declaration, each at a multiple of 4", () => {
    const { config, capabilities } = build({
      bars: [msixTable({ vectors: 2 })],
      capabilities: [
        vendorSpecific({ contents: new Uint8Array(2) }), // 5 bytes
        pm(), // 8
        af(), // 6
        msi({ vectors: 2 }), // 14
        msix({ vectors: 2, bar: 0 }), // 12
      ],
    });
    const chain: [number, number][] = [];
    for (let at = config.get8(0x34); at !== 0; at = config.get8(at + 1)) chain.push([at, config.get8(at)]);
    expect(chain).toEqual([
      [0x40, 0x09],
      [0x48, 0x01],
      [0x50, 0x13],
      [0x58, 0x05],
      [0x68, 0x11],
    ]);
    expect([capabilities.pm!.offset, capabilities.af!.offset]).toEqual([0x48, 0x50]);
    expect([capabilities.msi!.offset, capabilities.msix!.offset]).toEqual([0x58, 0x68]);
    expect(capabilities.vendorSpecific.map((cap) => cap.offset)).toEqual([0x40]);
    expect(capabilities.express).toBeUndefined();
  });

  it("ids and pointers are read-only", () => {
    const { config } = build({ capabilities: [pm(), af()] });
    for (const offset of [0x34, 0x40, 0x48]) write16(config, offset, 0xffff);
    expect([config.get8(0x34), config.get16(0x40), config.get16(0x48)]).toEqual([0x40, 0x4801, 0x0013]);
  });

  it("one that does not fit into 256 bytes is refused", () => {
    const big = vendorSpecific({ contents: new Uint8Array(180) });
    expect(() => build({ capabilities: [big, msi()] })).toThrow(
      /capability msi: 14 bytes at 0xf8 leave configuration space/,
    );
  });

  it("only vendor-specific ones may be repeated", () => {
    const vendor = vendorSpecific({ contents: new Uint8Array(1) });
    expect(build({ capabilities: [vendor, vendor] }).capabilities.vendorSpecific).toHaveLength(2);
    expect(() => build({ capabilities: [pm(), pm()] })).toThrow(/EINVAL: capability pm: declared twice/);
  });
});

describe("extended capabilities (PCIe 6.0 §7.6.3)", () => {
  it("start at 0x100, in order of declaration", () => {
    const { config, capabilities } = build({ capabilities: [dsn(1n), express(), aer()] });
    expect(config.size).toBe(4096);
    // version 1 and next 0x10c; version 2 and the end.
    expect(config.get32(0x100)).toBe(0x10c10003);
    expect(config.get32(0x10c)).toBe(0x00020001);
    expect([capabilities.dsn!.offset, capabilities.aer!.offset]).toEqual([0x100, 0x10c]);
    expect(config.get8(0x34)).toBe(0x40);
  });

  it("a PCI Express function without them reads 0 at 0x100", () => {
    const { config } = build({ capabilities: [express()] });
    expect([config.size, config.get32(0x100)]).toEqual([4096, 0]);
  });

  it("a function without PCI Express has 256 bytes, and can have none", () => {
    expect(build({ capabilities: [pm()] }).config.size).toBe(256);
    expect(() => build({ capabilities: [aer()] })).toThrow(
      /EINVAL: capability aer: needs the express capability/,
    );
  });
});

describe("MSI-X lies in memory BARs (PCI 3.0 §6.8.2)", () => {
  const table = { bar: 0, offset: 0 };
  it.each([
    ["no such BAR", { vectors: 1, bar: 1 }, /MSI-X table: BAR 1, .* no memory BAR of that number/],
    ["not a BAR number", { vectors: 1, bar: 7 }, /MSI-X table: BAR 7/],
    [
      "the BAR is too small",
      { vectors: 1024, bar: 0 },
      /MSI-X table: BAR 0, offset 0, 16384 bytes: leaves the BAR's 8192/,
    ],
    [
      "pending bits outside",
      { vectors: 1, table, pba: { bar: 0, offset: 8192 } },
      /MSI-X pending bits: BAR 0, offset 8192, 8 bytes: leaves/,
    ],
    [
      "overlap",
      { vectors: 4, table, pba: { bar: 0, offset: 56 } },
      /MSI-X: the table at 0 and the pending bits at 56/,
    ],
    [
      "overlap the other way round",
      { vectors: 65, table: { bar: 0, offset: 8 }, pba: { bar: 0, offset: 0 } },
      /MSI-X: the table at 8 and the pending bits at 0/,
    ],
  ])("%s", (_name, options, message) => {
    expect(() => build({ bars: [mmio({ size: 8192 })], capabilities: [msix(options)] })).toThrow(message);
  });

  it("an I/O BAR is refused", () => {
    expect(() => build({ bars: [io({ size: 256 })], capabilities: [msix({ vectors: 1, bar: 0 })] })).toThrow(
      /no memory BAR/,
    );
  });

  it("what a client may map holds neither table nor pending bits", () => {
    const beyond = [{ offset: 8192, size: 8192 }];
    const capabilities = [msix({ vectors: 4, bar: 0 })];
    expect(() => build({ bars: [memory({ size: 16384 })], capabilities })).toThrow(
      /MSI-X table: .* mappable area/,
    );
    expect(() => build({ bars: [memory({ size: 16384, mappable: beyond })], capabilities })).not.toThrow();
  });

  it.each([
    [0x800, 0x840],
    [0x808, 0x800],
  ])("table at %d and pending bits at %d share a BAR with registers, side by side", (table, pba) => {
    const capability = msix({ vectors: 4, table: { bar: 0, offset: table }, pba: { bar: 0, offset: pba } });
    const { config, capabilities } = build({ bars: [mmio({ size: 4096 })], capabilities: [capability] });
    expect(config.get32(capabilities.msix!.offset + 4)).toBe(table);
    expect(config.get32(capabilities.msix!.offset + 8)).toBe(pba);
  });
});
