import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  aer,
  af,
  buildConfigSpace,
  describeConfig,
  dsn,
  express,
  formatDescription,
  io,
  memory,
  mmio,
  msi,
  msix,
  msixTable,
  pm,
  vendorSpecific,
  type ConfigDefinition,
  type ConfigSpace,
} from "../../src/pci/index.js";
import { hasLspci, lspci } from "./lspci.js";

const id = { vendor: 0x1b36, device: 0x0002, classCode: 0x070002, revision: 1 };

function build(definition: Omit<ConfigDefinition, "id">): ConfigSpace {
  return buildConfigSpace({ id, ...definition }).config;
}

/** Compares with the real lspci, space by space, all but what is ours: the problems in words. */
function expectSameAsLspci(spaces: readonly Uint8Array[]): void {
  const printed = lspci(spaces);
  expect(printed).toHaveLength(spaces.length);
  for (const [i, bytes] of spaces.entries()) {
    const { problems: _, ...description } = describeConfig(bytes);
    expect(formatDescription({ ...description, problems: [] })).toEqual(printed[i]);
  }
}

/** Power-on bytes, and `runs` copies with random bytes from `start` to `end`. */
function variants(config: ConfigSpace, start: number, end: number, runs = 60): Uint8Array[] {
  const contents = fc.sample(fc.uint8Array({ minLength: end - start, maxLength: end - start }), {
    numRuns: runs,
    seed: 1,
  });
  const copies = contents.map((bytes) => {
    const copy = config.snapshot();
    copy.set(bytes, start);
    return copy;
  });
  return [config.snapshot(), ...copies];
}

describe.skipIf(!hasLspci)("output is lspci's own", () => {
  it("a card with everything, at power-on and configured", () => {
    const { config, capabilities } = buildConfigSpace({
      id,
      bars: [
        io({ size: 8 }),
        msixTable({ vectors: 4 }),
        memory({ size: 2 ** 20 }),
        mmio({ size: 16, width: 64 }),
      ],
      rom: new Uint8Array(3000),
      interruptPin: "B",
      capabilities: [
        pm({ pme: true, d1: true }),
        msi({ vectors: 8, perVectorMask: true }),
        msix({ vectors: 4, bar: 1 }),
        express({ generation: 3, lanes: 4 }),
        af(),
        vendorSpecific({ contents: Uint8Array.of(1, 2, 3) }),
        aer(),
        dsn(0x0011223344556677n),
      ],
    });
    const powerOn = config.snapshot();
    config.set16(0x04, 0x0507);
    config.set32(0x10, 0xe001);
    config.set32(0x14, 0xfe000000);
    config.set32(0x18, 0xfd00000c);
    config.set32(0x30, 0xfc000001);
    config.set32(0x3c, 0x0408020b);
    config.set16(0x0c, 0x4010);
    config.assign16(0x06, 0x0008, true);
    config.set16(capabilities.msi!.offset + 2, config.get16(capabilities.msi!.offset + 2) | 0x21);
    expectSameAsLspci([powerOn, config.snapshot()]);
  });

  it("Control and Status", () => {
    const config = build({ interruptPin: "A" });
    // Without the capability list bit: what the list holds is another test's.
    const spaces = variants(config, 0x04, 0x08).map((bytes) => {
      bytes[0x06]! &= ~0x10;
      return bytes;
    });
    expectSameAsLspci(spaces);
  });

  it("cache line, latency, BIST, interrupt pin and line", () => {
    const config = build({ interruptPin: "A" });
    config.set16(0x04, 0x0004);
    const spaces = [
      ...variants(config, 0x0c, 0x0e),
      ...variants(config, 0x0f, 0x10),
      ...variants(config, 0x3e, 0x40),
    ];
    for (let pin = 0; pin <= 4; pin++) {
      for (const line of [0, 11, 255]) {
        config.set16(0x3c, line | (pin << 8));
        spaces.push(config.snapshot());
      }
    }
    expectSameAsLspci(spaces);
  });

  it("subsystem, and its absence", () => {
    const config = build({});
    expectSameAsLspci(
      [0x12345678, 0x1234ffff, 0x12340000, 0xffff1af4, 0].map((ids) => {
        config.set32(0x2c, ids);
        return config.snapshot();
      }),
    );
  });

  it("Region: every kind of BAR, with each decode enabled and disabled", () => {
    const config = build({});
    const low = [
      0, 0x1, 0xe001, 0xabcd1235, 0xfe000000, 0xfe000008, 0xfe000004, 0xfe00000c, 0x4, 0xc, 0x2, 0x1006,
    ];
    const spaces = [0, 1, 2, 3].flatMap((command) =>
      [...low, 0xffffffff].map((register) => {
        config.set16(0x04, command);
        config.set32(0x10, register);
        config.set32(0x24, register);
        return config.snapshot();
      }),
    );
    config.set32(0x10, 0x0000000c);
    config.set32(0x14, 0xffffffff);
    expectSameAsLspci([...spaces, config.snapshot()]);
  });

  it("Expansion ROM", () => {
    const config = build({});
    expectSameAsLspci(
      [0, 2].flatMap((command) =>
        [0, 1, 0xfc000000, 0xfc000001, 0x7fe].map((register) => {
          config.set16(0x04, command);
          config.set32(0x30, register);
          return config.snapshot();
        }),
      ),
    );
  });

  it("Power Management", () => {
    expectSameAsLspci(variants(build({ capabilities: [pm()] }), 0x42, 0x48));
  });

  it("MSI: 32-bit, 64-bit, with and without masks", () => {
    for (const address64 of [false, true]) {
      for (const perVectorMask of [false, true]) {
        const config = build({ capabilities: [msi({ vectors: 32, address64, perVectorMask })] });
        expectSameAsLspci(variants(config, 0x44, 0x58, 10));
      }
    }
    expectSameAsLspci(variants(build({ capabilities: [msi()] }), 0x42, 0x58));
  });

  it("MSI-X", () => {
    const config = build({ bars: [msixTable({ vectors: 4 })], capabilities: [msix({ vectors: 4, bar: 0 })] });
    expectSameAsLspci(variants(config, 0x42, 0x4c));
  });

  it("Advanced Features", () => {
    expectSameAsLspci(variants(build({ capabilities: [af()] }), 0x42, 0x46));
  });

  it("Vendor Specific Information, in both spaces", () => {
    expectSameAsLspci(
      variants(build({ capabilities: [vendorSpecific({ contents: new Uint8Array(5) })] }), 0x42, 0x48),
    );
    const config = build({ capabilities: [express()] });
    config.set32(0x100, 0x0001000b);
    expectSameAsLspci(variants(config, 0x104, 0x110));
  });

  it.each(["endpoint", "legacyEndpoint", "rootComplexIntegrated"] as const)("Express: %s", (type) => {
    const withoutMemory = build({ bars: [io({ size: 8 })], capabilities: [express({ type })] });
    expectSameAsLspci(variants(withoutMemory, 0x44, 0x40 + 60, 100));
    const withMemory = build({ bars: [memory({ size: 4096 })], capabilities: [express({ type })] });
    expectSameAsLspci(variants(withMemory, 0x44, 0x40 + 60, 100));
  });

  it("Express: versions and message numbers", () => {
    const config = build({ capabilities: [express()] });
    expectSameAsLspci(
      [0x0001, 0x0002, 0x0003, 0x3e02].map((flags) => {
        config.set16(0x42, flags);
        return config.snapshot();
      }),
    );
  });

  it("Express: an endpoint that is not device 0 does not show the link's second set of registers", () => {
    for (const type of ["endpoint", "legacyEndpoint"] as const) {
      const bytes = build({ capabilities: [express({ type, generation: 4 })] }).snapshot();
      expect(formatDescription(describeConfig(bytes), "00:03.0").slice(1)).toEqual(
        lspci([bytes], 3)[0]!.slice(1),
      );
    }
  });

  it("Advanced Error Reporting", () => {
    expectSameAsLspci(variants(build({ capabilities: [express(), aer()] }), 0x104, 0x148));
  });

  it("Device Serial Number", () => {
    expectSameAsLspci(variants(build({ capabilities: [express(), dsn(1n)] }), 0x104, 0x10c));
  });

  it("capabilities that nobody decodes are named", () => {
    const config = build({ capabilities: [express()] });
    const spaces = [0x20, 0x45, 0xfe].map((unknown) => {
      config.set32(0x100, 0x00010000 | unknown | 0x100);
      return config.snapshot();
    });
    const standard = build({ capabilities: [af()] });
    for (const unknown of [0x00, 0x15, 0x7f]) {
      standard.set8(0x40, unknown);
      spaces.push(standard.snapshot());
    }
    expectSameAsLspci(spaces);
  });
});
