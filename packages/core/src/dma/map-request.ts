import { VfioError } from "../errno.js";
import type { DmaBacking } from "../memory.js";
import { ADDRESS_END, PAGE_SIZE, hex } from "./page.js";

/** What VFIO_USER_DMA_MAP asks for. */
export interface DmaMapRequest {
  readonly address: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** The device may read it. */
  readonly readable: boolean;
  /** The device may write it. */
  readonly writable: boolean;
  /** Absent: the memory is reached by messages (`clientMemory`). */
  readonly backing: DmaBacking | undefined;
}

/** How much of a client's memory a device takes on. */
export interface DmaLimits {
  /** Maps at a time (vfio-user: max_dma_maps). */
  readonly maxMaps?: number;
  /** Page sizes of maps, or'ed together (vfio-user: pgsizes). The smallest is the alignment; at least 4 KiB. */
  readonly pageSizes?: number;
}

export const DEFAULT_MAX_MAPS = 65535;

/** The alignment of maps, in bytes. @throws VfioError EINVAL */
export function alignmentOf({ pageSizes = PAGE_SIZE }: DmaLimits): bigint {
  const alignment = BigInt(pageSizes) & -BigInt(pageSizes); // lowest bit set
  if (alignment < PAGE_SIZE)
    throw new VfioError("EINVAL", `pageSizes ${hex(pageSizes)}: the smallest page size is 4 KiB`);
  return alignment;
}

/**
 * Whether a range can be mapped or unmapped. `alignment` is the smallest page size.
 * @throws VfioError EINVAL
 */
export function checkRange(address: bigint, size: bigint, alignment: bigint): void {
  if (size <= 0n) throw new VfioError("EINVAL", `size ${hex(size)}: must not be zero`);
  if (address < 0n || address + size > ADDRESS_END)
    throw new VfioError("EINVAL", `address ${hex(address)} + size ${hex(size)}: wraps at 2^64`);
  if (address & (alignment - 1n))
    throw new VfioError("EINVAL", `address ${hex(address)}: not a multiple of ${hex(alignment)}`);
  if (size & (alignment - 1n))
    throw new VfioError("EINVAL", `size ${hex(size)}: not a multiple of ${hex(alignment)}`);
}

/** Whether a map has a permission, and memory of its size. @throws VfioError EINVAL */
export function checkAccess({ size, readable, writable, backing }: DmaMapRequest): void {
  // VFIO uAPI: VFIO_IOMMU_MAP_DMA refuses a map without READ and WRITE.
  if (!readable && !writable) throw new VfioError("EINVAL", "flags 0: a map is readable, writable or both");
  if (!backing) return;
  if (backing.bytes && BigInt(backing.bytes.length) !== size)
    throw new VfioError("EINVAL", `size ${hex(size)}: ${hex(backing.bytes.length)} bytes are mapped`);
  if (size > BigInt(Number.MAX_SAFE_INTEGER))
    throw new VfioError("EINVAL", `size ${hex(size)}: no file is that large`);
}
