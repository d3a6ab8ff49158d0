import { VfioError } from "@vfiokit/core";
import type { DeviceInfo, IrqInfo } from "@vfiokit/core/host";
import {
  ClientIrq,
  ClientMigration,
  MappedRegion,
  type RegionDescription,
  type VfioDevice,
} from "../client/index.js";
import { describeRegion } from "../client/region.js";
import { Mapping, type Fd } from "../linux/index.js";
import { errno, libc } from "../linux/libc.js";
import {
  DeviceInfo as WireDeviceInfo,
  IrqInfo as WireIrqInfo,
  IrqSet,
  RegionInfo,
  RegionInfoRequest,
} from "../wire/index.js";
import { affectedBy, hotReset, type AffectedDevice } from "./hot-reset.js";
import { ReplyError } from "../socket/index.js";
import { ioctl, kernelError, type Reasons } from "./ioctl.js";
import type { Iommu, KernelDmaMap } from "./iommu.js";
import { KernelMigration } from "./migration-data.js";
import type { IoctlName } from "./uapi.js";

/** PCI 3.0 §6.8.2.3: the most vectors that an MSI-X table has. */
const MAX_VECTORS = 2048;

/**
 * A device of the kernel's VFIO, behind the same methods as one behind a vfio-user socket. The kernel answers while the
 * call lasts: it is only for that other kind that they return promises.
 *
 * What the kernel refuses is a ReplyError: the ioctl's name, the errno and, where it can be told, the reason.
 */
export class KernelDevice implements VfioDevice {
  readonly migration: ClientMigration;
  readonly #migration: KernelMigration;
  readonly #irqs = new Map<number, ClientIrq>();
  readonly #regions = new Map<number, RegionDescription>();
  readonly #mapped = new Set<Disposable>();

  /** Takes the descriptors: `openKernelDevice` is how one gets a device. */
  constructor(
    /** As it was named: "vfio:0000:01:00.0". */
    readonly address: string,
    private readonly fd: Fd,
    private readonly iommu: Iommu,
    /** Undefined with iommufd. */
    private readonly group: Fd | undefined,
  ) {
    this.#migration = new KernelMigration(fd);
    this.migration = new ClientMigration(this.#migration);
  }

  /** How it is attached: by a container with type1v2, or by iommufd. */
  get mode(): "type1v2" | "iommufd" {
    return this.group ? "type1v2" : "iommufd";
  }

  getInfo(): Promise<DeviceInfo> {
    return run(() => {
      const info = WireDeviceInfo.encode({
        argsz: WireDeviceInfo.size,
        flags: 0,
        num_regions: 0,
        num_irqs: 0,
      });
      ioctl(this.fd, "VFIO_DEVICE_GET_INFO", info);
      const { flags, num_regions, num_irqs } = WireDeviceInfo.decode(info);
      return { flags, numRegions: num_regions, numIrqs: num_irqs };
    });
  }

  getRegionInfo(index: number): Promise<RegionDescription> {
    return run(() => this.#region(index));
  }

  /** Maps what can be mapped of a region. @throws VfioError EOPNOTSUPP where there is nothing to map */
  mapRegion(index: number): Promise<MappedRegion> {
    return run(() => {
      const description = this.#region(index);
      if (description.mmapAreas.length === 0)
        throw new VfioError("EOPNOTSUPP", `region ${index}: the kernel does not let it be mapped`);
      const mapped: MappedRegion = new MappedRegion(
        description,
        this.fd,
        () => this.#mapped.delete(mapped),
        (...of) => Mapping.ofDevice(...of),
      );
      this.#mapped.add(mapped);
      return mapped;
    });
  }

  /** @returns bytes read; fewer where the kernel stopped */
  regionRead(index: number, offset: number, into: Uint8Array): Promise<number> {
    return run(() => this.#access("pread", index, offset, into));
  }

  /** @returns bytes written */
  regionWrite(index: number, offset: number, from: Uint8Array): Promise<number> {
    return run(() => this.#access("pwrite", index, offset, from));
  }

  getIrqInfo(index: number): Promise<IrqInfo> {
    return run(() => {
      const info = WireIrqInfo.encode({ argsz: WireIrqInfo.size, flags: 0, index, count: 0 });
      if (!ask(this.fd, "VFIO_DEVICE_GET_IRQ_INFO", info)) return { index, flags: 0, count: 0 };
      const { flags, count } = WireIrqInfo.decode(info);
      return { index, flags, count };
    });
  }

  /** The interrupts of an index (IrqIndex), always the same object. */
  irq(index: number): ClientIrq {
    let irq = this.#irqs.get(index);
    if (!irq) {
      irq = new ClientIrq(index, {
        setIrqs: (request, fds) =>
          run(() => {
            // vfio-user has the descriptors beside the message, the kernel in it.
            const numbers = Int32Array.from(fds, ({ number }) => number);
            const data = fds.length > 0 ? new Uint8Array(numbers.buffer) : request.data;
            const set = IrqSet.encode({ ...request, argsz: IrqSet.size + data.length, data });
            ioctl(this.fd, "VFIO_DEVICE_SET_IRQS", set, IRQ_REASONS);
          }),
        maxFds: () => MAX_VECTORS,
      });
      this.#irqs.set(index, irq);
    }
    return irq;
  }

  /** VFIO_DEVICE_RESET: the device is at its power-on state and RUNNING afterwards. */
  reset(): Promise<void> {
    return run(() => void ioctl(this.fd, "VFIO_DEVICE_RESET", null, RESET_REASONS));
  }

  /** The functions that a hot reset of this one would reset. */
  hotResetInfo(): Promise<AffectedDevice[]> {
    return run(() => affectedBy(this.fd));
  }

  /** Resets the slot or the bus. @throws VfioError EPERM that names the functions that are not this process's */
  hotReset(): Promise<void> {
    return run(() => hotReset(this.fd, this.group));
  }

  /** Lets the device access memory of this process. */
  dmaMap(map: KernelDmaMap): Promise<void> {
    return run(() => this.iommu.map(map));
  }

  /** Takes back exactly one map. */
  dmaUnmap(address: bigint, size: number): Promise<void> {
    return run(() => this.iommu.unmap(address, size));
  }

  /** Gives the device back: the kernel resets it, and takes its interrupts and maps down. Twice does nothing more. */
  close(): void {
    this.#migration.close();
    for (const irq of this.#irqs.values()) irq.release();
    for (const mapped of [...this.#mapped]) mapped[Symbol.dispose]();
    this.fd.close();
    this.group?.close();
    this.iommu.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Asks for a region, again where its capabilities need more room. */
  #region(index: number): RegionDescription {
    const known = this.#regions.get(index);
    if (known) return known;
    for (let argsz = RegionInfoRequest.size; ;) {
      const info = new Uint8Array(argsz);
      RegionInfoRequest.write({ argsz, flags: 0, index, cap_offset: 0, size: 0n, offset: 0n }, info);
      if (!ask(this.fd, "VFIO_DEVICE_GET_REGION_INFO", info))
        return { index, flags: 0, size: 0, offset: 0, capabilities: [], mmapAreas: [] };
      const needed = RegionInfoRequest.decode(info).argsz;
      if (needed <= argsz) {
        const description = describeRegion(RegionInfo.decode(info));
        this.#regions.set(index, description);
        return description;
      }
      argsz = needed;
    }
  }

  /** One call of the kernel moves as much as it likes: a region is accessed in as many as it takes. */
  #access(call: "pread" | "pwrite", index: number, offset: number, bytes: Uint8Array): number {
    const region = this.#region(index);
    let done = 0;
    while (done < bytes.length) {
      const piece = bytes.subarray(done);
      const count = libc[call](this.fd.number, piece, piece.length, region.offset + offset + done);
      if (count < 0) {
        const what = `${call} of ${bytes.length} bytes at 0x${offset.toString(16)} of region ${index}`;
        throw kernelError(what, errno(), ACCESS_REASONS);
      }
      if (count === 0) break;
      done += count;
    }
    return done;
  }
}

const ACCESS_REASONS: Reasons = {
  EIO: "the device's memory is disabled, or it sleeps",
  EINVAL: "the region has no such bytes",
};
const IRQ_REASONS: Reasons = { EINVAL: "the device has no such vectors, or they are set up otherwise" };
const RESET_REASONS: Reasons = {
  EINVAL: "the device cannot be reset by itself: vfiokit reset --hot",
  ENOTTY: "the device cannot be reset by itself: vfiokit reset --hot",
  EAGAIN: "the device is being reset, or removed: try again",
};

/**
 * Asks for a region or an interrupt. Of those that a device counts it may not have all, and says so by EINVAL: vfio-pci of
 * the VGA region, mtty of MSI-X.
 * @returns whether it has it
 */
function ask(fd: Fd, name: IoctlName, argument: Uint8Array): boolean {
  try {
    ioctl(fd, name, argument);
    return true;
  } catch (error) {
    if (error instanceof ReplyError && error.code === "EINVAL") return false;
    throw error;
  }
}

/** The kernel's answer as a promise: what it refuses is a rejection. */
function run<T>(call: () => T): Promise<T> {
  return new Promise((resolve) => resolve(call()));
}
