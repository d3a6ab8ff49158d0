import { describe, expect, it } from "vitest";
import { RegionFlags } from "@vfiokit/core/host";
import {
  CapHeader,
  IoFdType,
  RegionInfo,
  RegionIoFds,
  ShadowSubRegion,
  SubRegion,
  WireError,
} from "@vfiokit/user/wire";

const base = { argsz: 32, flags: RegionFlags.CAPS, index: 0, cap_offset: 32, size: 0x1000n, offset: 0n };

describe("capabilities of a region", () => {
  it("a chain: sparse mmap, then a type", () => {
    const capabilities = [
      { kind: "sparse-mmap", version: 1, areas: [{ offset: 0x1000n, size: 0x2000n }] },
      { kind: "type", version: 1, type: 0x8000_8086, subtype: 2 },
    ] as const;
    const bytes = RegionInfo.encode({ ...base, capabilities });
    expect(CapHeader.decode(bytes.subarray(32))).toEqual({ id: 1, version: 1, next: 64 });
    expect(CapHeader.decode(bytes.subarray(64))).toEqual({ id: 2, version: 1, next: 0 });
    expect(RegionInfo.decode(bytes).capabilities).toEqual(capabilities);
  });

  it("a chain with gaps is followed by its offsets", () => {
    const bytes = new Uint8Array(32 + 8 + 16 + 16);
    RegionInfo.write({ ...base, cap_offset: 0, flags: 0, capabilities: [] }, bytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(RegionInfo.offset.flags, RegionFlags.CAPS, true);
    view.setUint32(RegionInfo.offset.cap_offset, 40, true);
    bytes.set(CapHeader.encode({ id: 3, version: 1, next: 56 }), 40);
    bytes.set(CapHeader.encode({ id: 2, version: 1, next: 0 }), 56);
    expect(RegionInfo.decode(bytes).capabilities).toEqual([
      { kind: "msix-mappable", version: 1 },
      { kind: "type", version: 1, type: 0, subtype: 0 },
    ]);
  });

  it("cut short by the request's argsz: CAPS without cap_offset reads as none", () => {
    const bytes = RegionInfo.encode({ ...base, argsz: 64, cap_offset: 0, capabilities: [] });
    expect(RegionInfo.decode(bytes)).toMatchObject({ argsz: 64, capabilities: [] });
  });

  const chain = (
    cap_offset: number,
    ...nexts: readonly (readonly [at: number, next: number])[]
  ): Uint8Array => {
    const bytes = new Uint8Array(96);
    bytes.set(RegionInfo.encode({ ...base, flags: 0, cap_offset: 0, capabilities: [] }));
    const view = new DataView(bytes.buffer);
    view.setUint32(RegionInfo.offset.flags, RegionFlags.CAPS, true);
    view.setUint32(RegionInfo.offset.cap_offset, cap_offset, true);
    for (const [at, next] of nexts) bytes.set(CapHeader.encode({ id: 3, version: 1, next }), at);
    return bytes;
  };

  it.each([
    ["starts inside the struct", chain(24), "vfio_region_info.cap_offset"],
    ["starts beyond the reply", chain(96), "vfio_region_info.cap_offset"],
    ["has a header cut short", chain(89), "vfio_region_info.cap_offset"],
    ["points to itself", chain(32, [32, 32]), "vfio_region_info.capabilities"],
    ["loops", chain(32, [32, 48], [48, 32]), "vfio_region_info.capabilities"],
    ["leaves the reply", chain(32, [32, 0xffff_fff0]), "vfio_region_info.capabilities"],
  ])("a chain that %s is refused", (_what, bytes, field) => {
    expect(() => RegionInfo.decode(bytes)).toThrow(
      expect.objectContaining({ constructor: WireError, field }),
    );
  });

  it("more areas than the block holds", () => {
    const capabilities = [{ kind: "sparse-mmap", version: 1, areas: [{ offset: 0n, size: 1n }] }] as const;
    const bytes = RegionInfo.encode({ ...base, capabilities });
    new DataView(bytes.buffer).setUint32(32 + 8, 2, true);
    expect(() => RegionInfo.decode(bytes)).toThrow(WireError);
  });
});

describe("sub-regions with descriptors", () => {
  const common = { offset: 0x10n, size: 4n, fd_index: 0, type: IoFdType.IOEVENTFD, flags: 1 };
  const spec = { ...common, padding: 0, datamatch: 7n };
  const shadow = { ...common, shadow_mem_fd_index: 0, shadow_offset: 0n, datamatch: 7n };

  it("argsz and count tell the specification's layout from libvfio-user's, which is 8 bytes longer", () => {
    const of = (sub_regions: readonly (typeof spec | typeof shadow)[], each: number): Uint8Array =>
      RegionIoFds.encode({ argsz: 16 + 2 * each, flags: 0, index: 0, count: 2, sub_regions });
    expect(RegionIoFds.decode(of([spec, spec], SubRegion.size)).sub_regions).toEqual([spec, spec]);
    expect(RegionIoFds.decode(of([shadow, shadow], ShadowSubRegion.size)).sub_regions).toEqual([
      shadow,
      shadow,
    ]);
    expect(() => of([spec, shadow], SubRegion.size)).toThrow(WireError);
  });

  it("cut short by the request's argsz: what fits", () => {
    const all = RegionIoFds.encode({ argsz: 96, flags: 0, index: 0, count: 2, sub_regions: [spec, spec] });
    expect(RegionIoFds.decode(all.subarray(0, 56)).sub_regions).toEqual([spec]);
    expect(RegionIoFds.decode(all.subarray(0, 16)).sub_regions).toEqual([]);
  });

  it("an element size that no layout has", () => {
    const bytes = RegionIoFds.encode({ argsz: 56, flags: 0, index: 0, count: 1, sub_regions: [spec] });
    new DataView(bytes.buffer).setUint32(0, 16 + 41, true);
    expect(() => RegionIoFds.decode(bytes)).toThrow(WireError);
  });
});
