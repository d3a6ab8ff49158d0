/** Capabilities of a region: a chain of blocks behind vfio_region_info (VFIO uAPI: vfio_info_cap_header). */

import { RegionFlags } from "@vfiokit/core/host";
import { WireError } from "../layout/errors.js";
import { bytesText, choice, u16, u32, u64 } from "../layout/field.js";
import { struct, type FixedValues, type StructValue, type Tail } from "../layout/struct.js";
import { arrayOf } from "../layout/tail.js";

/** VFIO_REGION_INFO_CAP_*. */
export const RegionCapId = { SPARSE_MMAP: 1, TYPE: 2, MSIX_MAPPABLE: 3 } as const;

const header = {
  id: choice(u16, RegionCapId),
  version: u16,
  /** Of the next capability, from the start of vfio_region_info; 0: this is the last. */
  next: u32,
};
/** The header of a region's capability. */
export const CapHeader = struct("vfio_info_cap_header", header);

/** A part of a region that can be mapped, in bytes. */
export const SparseMmapArea = struct("vfio_region_sparse_mmap_area", { offset: u64, size: u64 });
/** VFIO_REGION_INFO_CAP_SPARSE_MMAP: which parts of a region can be mapped. */
export const SparseMmapCap = struct("vfio_region_info_cap_sparse_mmap", {
  ...header,
  nr_areas: u32,
  reserved: u32,
  areas: arrayOf(SparseMmapArea, "nr_areas"),
});
/** VFIO_REGION_INFO_CAP_TYPE: what a region that is no BAR is for. */
export const TypeCap = struct("vfio_region_info_cap_type", { ...header, type: u32, subtype: u32 });

/** A capability of a region. */
export type RegionCapability =
  | {
      readonly kind: "sparse-mmap";
      readonly version: number;
      /** The parts of the region that may be mapped; empty: none. */
      readonly areas: readonly StructValue<typeof SparseMmapArea>[];
    }
  | { readonly kind: "type"; readonly version: number; readonly type: number; readonly subtype: number }
  | { readonly kind: "msix-mappable"; readonly version: number }
  | { readonly kind: "other"; readonly id: number; readonly version: number; readonly data: Uint8Array };

/** Capabilities are aligned to 8 bytes, as their 64-bit fields ask for. */
const ALIGNMENT = 8;

function lengthOf(cap: RegionCapability): number {
  switch (cap.kind) {
    case "sparse-mmap":
      return SparseMmapCap.size + cap.areas.length * SparseMmapArea.size;
    case "type":
      return TypeCap.size;
    case "msix-mappable":
      return CapHeader.size;
    case "other":
      return CapHeader.size + cap.data.length;
  }
}

function decodeOne(block: Uint8Array): RegionCapability {
  const { id, version } = CapHeader.decode(block);
  switch (id) {
    case RegionCapId.SPARSE_MMAP:
      return { kind: "sparse-mmap", version, areas: SparseMmapCap.decode(block).areas };
    case RegionCapId.TYPE: {
      const { type, subtype } = TypeCap.decode(block);
      return { kind: "type", version, type, subtype };
    }
    case RegionCapId.MSIX_MAPPABLE:
      return { kind: "msix-mappable", version };
    default:
      return { kind: "other", id, version, data: block.subarray(CapHeader.size) };
  }
}

function encodeOne(cap: RegionCapability, next: number): Uint8Array {
  const { version } = cap;
  switch (cap.kind) {
    case "sparse-mmap": {
      const { areas } = cap;
      const id = RegionCapId.SPARSE_MMAP;
      return SparseMmapCap.encode({ id, version, next, nr_areas: areas.length, reserved: 0, areas });
    }
    case "type":
      return TypeCap.encode({ id: RegionCapId.TYPE, version, next, type: cap.type, subtype: cap.subtype });
    case "msix-mappable":
      return CapHeader.encode({ id: RegionCapId.MSIX_MAPPABLE, version, next });
    case "other": {
      const block = new Uint8Array(lengthOf(cap));
      CapHeader.write({ id: cap.id, version, next }, block);
      block.set(cap.data, CapHeader.size);
      return block;
    }
  }
}

/**
 * CAPS without cap_offset: there are capabilities, but the request's argsz had no room for them
 * (VFIO uAPI: vfio_info_cap_add). Read as none; argsz says how much room they need.
 */
function firstOffset(fixed: FixedValues): number {
  return (fixed["flags"] as number) & RegionFlags.CAPS ? (fixed["cap_offset"] as number) : 0;
}

export const regionCapabilities: Tail<readonly RegionCapability[]> = {
  tail: true,
  length: (caps) => caps.reduce((total, cap) => total + lengthOf(cap), 0),

  read(payload, at, fixed) {
    const offsets: number[] = [];
    let least = at;
    for (let offset = firstOffset(fixed); offset !== 0;) {
      // Growing offsets, so that a chain cannot loop. Every implementation appends.
      if (offset < least || offset + CapHeader.size > payload.length) {
        const field = offsets.length ? ".capabilities" : ".cap_offset";
        throw new WireError(
          field,
          `at ${offset}`,
          `between ${least} and the reply's end at ${payload.length}`,
        );
      }
      offsets.push(offset);
      least = offset + CapHeader.size;
      offset = CapHeader.decode(payload.subarray(offset)).next;
    }
    return offsets.map((offset, index) => decodeOne(payload.subarray(offset, offsets[index + 1])));
  },

  write(payload, at, caps, fixed) {
    const first = firstOffset(fixed);
    if (caps.length && first !== at) {
      throw new WireError(".cap_offset", String(first), `flags have CAPS, and capabilities start at ${at}`);
    }
    let offset = at;
    caps.forEach((cap, index) => {
      const end = offset + lengthOf(cap);
      if (end % ALIGNMENT)
        throw new WireError(".capabilities", `${lengthOf(cap)} bytes`, `a multiple of ${ALIGNMENT}`);
      payload.set(encodeOne(cap, index + 1 < caps.length ? end : 0), offset);
      offset = end;
    });
  },

  describe: (caps) =>
    caps.map((cap) => {
      const name = `capability ${cap.kind}`;
      switch (cap.kind) {
        case "sparse-mmap":
          return {
            name,
            text: `v${cap.version}, ${cap.areas.length} areas`,
            fields: cap.areas.map(({ offset, size }, index) => ({
              name: `[${index}]`,
              text: `offset ${u64.text(offset)}, size ${u64.text(size)}`,
            })),
          };
        case "type":
          return { name, text: `v${cap.version}, type 0x${cap.type.toString(16)}, subtype ${cap.subtype}` };
        case "msix-mappable":
          return { name, text: `v${cap.version}` };
        case "other":
          return { name, text: `id ${cap.id} v${cap.version} ${bytesText(cap.data)}` };
      }
    }),
};
