/**
 * What a request must satisfy besides its layout, as far as the message alone can tell. What depends on the device or
 * on the negotiated limits (indices, max_data_xfer_size, page sizes) is the receiver's.
 *
 * vfio-user says of several requests that "all other fields must be zero". Nobody checks it (libvfio-user does for
 * GET_REGION_IO_FDS only), and clients that ask again with a larger argsz send back what they got: neither do we.
 */

import { U64_END, type FlagsField } from "../layout/field.js";
import type { Fields, Struct, StructValue } from "../layout/struct.js";
import {
  DeviceInfo,
  DmaAccess,
  DmaMap,
  DmaUnmap,
  DmaUnmapFlags,
  IRQ_SET_ACTION_MASK,
  IRQ_SET_DATA_MASK,
  IrqInfo,
  IrqSet,
  IrqSetFlags,
  MigrationDataRequest,
  RegionAccess,
  RegionInfoRequest,
  RegionIoFdsRequest,
  SingleWrite,
  type RegionWriteMulti,
} from "./structs.js";

export type Rule<V> = (value: V) => void;

/** argsz has room for the struct itself: of the reply, or of the request where there is no reply payload. */
function argsz<F extends Fields & { readonly argsz: Fields[string] }>(
  of: Struct<F>,
): Rule<{ readonly argsz: number }> {
  return (value) => {
    if (value.argsz < of.size) throw of.error("argsz", value.argsz, `at least ${of.size}`);
  };
}

function knownFlags<F extends Fields & { readonly flags: FlagsField<number> }>(
  of: Struct<F>,
): Rule<{ readonly flags: number }> {
  return ({ flags }) => {
    const unknown = of.fields.flags.unknown(flags);
    if (unknown)
      throw of.error("flags", `0x${flags.toString(16)}`, `0x${unknown.toString(16)} has no meaning`);
  };
}

export const dmaMap: readonly Rule<DmaMap>[] = [
  argsz(DmaMap),
  knownFlags(DmaMap),
  ({ address, size, offset }) => {
    if (size === 0n) throw DmaMap.error("size", size, "more than zero");
    if (address + size > U64_END) throw DmaMap.error("size", size, "address + size within 2^64");
    if (offset + size > U64_END) throw DmaMap.error("offset", offset, "offset + size within 2^64");
  },
];

export const dmaUnmap: readonly Rule<DmaUnmap>[] = [
  argsz(DmaUnmap),
  knownFlags(DmaUnmap),
  ({ flags, address, size }) => {
    if (flags & DmaUnmapFlags.GET_DIRTY_BITMAP) {
      throw DmaUnmap.error(
        "flags",
        `0x${flags.toString(16)}`,
        "GET_DIRTY_BITMAP is not supported: use DMA logging",
      );
    }
    if (flags & DmaUnmapFlags.ALL) {
      // VFIO uAPI: with FLAG_ALL, "the iova and size must be zero".
      if (address !== 0n) throw DmaUnmap.error("address", address, "zero with ALL");
      if (size !== 0n) throw DmaUnmap.error("size", size, "zero with ALL");
    } else {
      if (size === 0n) throw DmaUnmap.error("size", size, "more than zero");
      if (address + size > U64_END) throw DmaUnmap.error("size", size, "address + size within 2^64");
    }
  },
];

export const getInfo = [argsz(DeviceInfo)];
export const getRegionInfo = [argsz(RegionInfoRequest)];
export const getIrqInfo = [argsz(IrqInfo)];

export const getRegionIoFds: readonly Rule<StructValue<typeof RegionIoFdsRequest>>[] = [
  argsz(RegionIoFdsRequest),
  ({ flags, count }) => {
    if (flags !== 0) throw RegionIoFdsRequest.error("flags", flags, "zero");
    if (count !== 0) throw RegionIoFdsRequest.error("count", count, "zero in a request");
  },
];

const isOneBit = (bits: number): boolean => bits !== 0 && (bits & (bits - 1)) === 0;

export const setIrqs: readonly Rule<IrqSet>[] = [
  argsz(IrqSet),
  knownFlags(IrqSet),
  ({ flags, start, count, data }) => {
    const shown = IrqSet.fields.flags.text(flags);
    const action = flags & IRQ_SET_ACTION_MASK;
    const kind = flags & IRQ_SET_DATA_MASK;
    if (!isOneBit(kind)) throw IrqSet.error("flags", shown, "one of DATA_NONE, DATA_BOOL and DATA_EVENTFD");
    if (!isOneBit(action))
      throw IrqSet.error("flags", shown, "one of ACTION_MASK, ACTION_UNMASK and ACTION_TRIGGER");
    if (start + count > 0xffff_ffff) throw IrqSet.error("count", count, "start + count within 32 bits");
    if (kind === IrqSetFlags.DATA_BOOL && data.length !== count) {
      throw IrqSet.error("count", count, `the message holds ${data.length} booleans`);
    }
    // VFIO uAPI: "DATA_NONE/ACTION_TRIGGER with count 0 disables the index"; nothing else has a count of 0.
    if (count === 0 && flags !== (IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER)) {
      throw IrqSet.error("count", count, "zero only with DATA_NONE and ACTION_TRIGGER");
    }
    if (count === 0 && start !== 0) throw IrqSet.error("start", start, "zero where count is");
  },
];

export const regionAccess: readonly Rule<RegionAccess>[] = [
  ({ offset, count }) => {
    if (offset + BigInt(count) > U64_END)
      throw RegionAccess.error("offset", offset, "offset + count within 2^64");
  },
];

export const dmaAccess: readonly Rule<DmaAccess>[] = [
  ({ address, count }) => {
    if (address + count > U64_END) throw DmaAccess.error("address", address, "address + count within 2^64");
  },
];

export const regionWriteMulti: readonly Rule<RegionWriteMulti>[] = [
  ({ wrs }) => {
    for (const { offset, count } of wrs) {
      if (count > SingleWrite.fields.data.size) throw SingleWrite.error("count", count, "at most 8 bytes");
      if (offset + BigInt(count) > U64_END)
        throw SingleWrite.error("offset", offset, "offset + count within 2^64");
    }
  },
];

/** MIG_DATA_WRITE's argsz is of a reply payload that does not exist: not checked. */
export const migrationDataRead: readonly Rule<StructValue<typeof MigrationDataRequest>>[] = [
  ({ argsz, size }) => {
    const needed = MigrationDataRequest.size + size;
    if (argsz < needed) throw MigrationDataRequest.error("argsz", argsz, `the reply needs ${needed} bytes`);
  },
];
