import koffi from "koffi";
import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import { ioctl, type Reasons } from "./ioctl.js";
import { DmaMapFlags, IoasMap, IoasMapFlags, IoasUnmap, Type1DmaMap, Type1DmaUnmap } from "./uapi.js";

/** Memory of this process at an address of the device's. */
export interface KernelDmaMap {
  /** A multiple of the page size. */
  readonly address: bigint;
  /** Outside of the JavaScript heap, and page-aligned: `SharedDmaMemory`. It must stay until it is unmapped. */
  readonly bytes: Uint8Array;
  /** Whether the device may read it. Default true. */
  readonly readable?: boolean;
  /** Default true. */
  readonly writable?: boolean;
}

/** The address space that a device's DMA goes to. */
export interface Iommu {
  map(map: KernelDmaMap): void;
  /** Takes back exactly one map. */
  unmap(address: bigint, size: number): void;
  close(): void;
}

const REASONS: Reasons = {
  ENOMEM: "the memory is more than the process may lock (RLIMIT_MEMLOCK; `ulimit -l` in KiB)",
  EEXIST: "a part of the range is mapped already",
  EINVAL: "the device's addresses and the memory are whole pages, in a range that the IOMMU has",
};

const sizeOf = (bytes: Uint8Array): bigint => BigInt(bytes.length);

/** A container of VFIO with the IOMMU driver type1v2. */
export class Type1Iommu implements Iommu {
  constructor(readonly container: Fd) {}

  map({ address, bytes, readable = true, writable = true }: KernelDmaMap): void {
    const request = Type1DmaMap.encode({
      argsz: Type1DmaMap.size,
      flags: (readable ? DmaMapFlags.READ : 0) | (writable ? DmaMapFlags.WRITE : 0),
      vaddr: koffi.address(bytes),
      iova: address,
      size: sizeOf(bytes),
    });
    ioctl(this.container, "VFIO_IOMMU_MAP_DMA", request, REASONS);
  }

  unmap(address: bigint, size: number): void {
    const request = Type1DmaUnmap.encode({
      argsz: Type1DmaUnmap.size,
      flags: 0,
      iova: address,
      size: BigInt(size),
    });
    ioctl(this.container, "VFIO_IOMMU_UNMAP_DMA", request);
    // type1v2 answers with what it has unmapped, and takes a range without any map for well done.
    const unmapped = Type1DmaUnmap.decode(request).size;
    if (unmapped !== BigInt(size))
      throw new VfioError("ENOENT", `VFIO_IOMMU_UNMAP_DMA: ${unmapped} of ${size} bytes were mapped`);
  }

  close(): void {
    this.container.close();
  }
}

/** An address space of iommufd. */
export class IommufdIoas implements Iommu {
  constructor(
    readonly iommufd: Fd,
    readonly id: number,
  ) {}

  map({ address, bytes, readable = true, writable = true }: KernelDmaMap): void {
    const request = IoasMap.encode({
      size: IoasMap.size,
      flags:
        IoasMapFlags.FIXED_IOVA |
        (readable ? IoasMapFlags.READABLE : 0) |
        (writable ? IoasMapFlags.WRITEABLE : 0),
      ioas_id: this.id,
      __reserved: new Uint8Array(4),
      user_va: koffi.address(bytes),
      length: sizeOf(bytes),
      iova: address,
    });
    ioctl(this.iommufd, "IOMMU_IOAS_MAP", request, REASONS);
  }

  unmap(address: bigint, size: number): void {
    const request = IoasUnmap.encode({
      size: IoasUnmap.size,
      ioas_id: this.id,
      iova: address,
      length: BigInt(size),
    });
    ioctl(this.iommufd, "IOMMU_IOAS_UNMAP", request);
  }

  close(): void {
    this.iommufd.close();
  }
}
