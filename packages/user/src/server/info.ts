import { VfioError } from "@vfiokit/core";
import { RegionFlags } from "@vfiokit/core/host";
import {
  IoEventFdFlags,
  IoFdType,
  RegionIoFds,
  RegionInfo,
  SparseMmapArea,
  SparseMmapCap,
  DeviceInfo,
  IrqInfo,
  SubRegion,
} from "../wire/index.js";
import type { Handler } from "./session.js";

export const getInfo: Handler<"DEVICE_GET_INFO"> = ({ device }) => {
  const { flags, numRegions, numIrqs } = device.info();
  return { payload: { argsz: DeviceInfo.size, flags, num_regions: numRegions, num_irqs: numIrqs } };
};

export const getRegionInfo: Handler<"DEVICE_GET_REGION_INFO"> = ({ device, peer }, { argsz, index }) => {
  const info = device.regionInfo(index);
  // A client that takes no descriptors has to use messages.
  const mappable = info.fd !== undefined && peer.maxMsgFds > 0;
  const areas = mappable ? info.mmapAreas : [];
  const capsSize = areas.length > 0 ? SparseMmapCap.size + areas.length * SparseMmapArea.size : 0;
  const needed = RegionInfo.size + capsSize;
  // vfio-user, "Message sizes": without room for all of it, the reply says how much room it takes.
  const fits = argsz >= needed;
  const capabilities =
    areas.length > 0 && fits
      ? [
          {
            kind: "sparse-mmap" as const,
            version: 1,
            areas: areas.map(({ offset, size }) => ({ offset: BigInt(offset), size: BigInt(size) })),
          },
        ]
      : [];
  // QEMU 11 takes CAPS with cap_offset 0 as an error: the flag is set where the capabilities are.
  const flags =
    (info.flags & ~(RegionFlags.MMAP | RegionFlags.CAPS)) |
    (mappable ? RegionFlags.MMAP : 0) |
    (capabilities.length > 0 ? RegionFlags.CAPS : 0);
  return {
    payload: {
      argsz: needed,
      flags,
      index,
      cap_offset: capabilities.length > 0 ? RegionInfo.size : 0,
      size: BigInt(info.size),
      offset: 0n,
      capabilities,
    },
    ...(mappable && { fds: [{ number: info.fd }] }),
  };
};

export const getRegionIoFds: Handler<"DEVICE_GET_REGION_IO_FDS"> = (session, { argsz, index }) => {
  const { device, ioEventFds, peer, settings } = session;
  if (device.regionInfo(index).size === 0)
    throw new VfioError("EINVAL", `region index ${index}: the device has no such region`);
  if (argsz > settings.maxDataXferSize)
    throw new VfioError("EINVAL", `argsz ${argsz}: at most max_data_xfer_size, ${settings.maxDataXferSize}`);
  // Those that do not fit into one message are reached by REGION_WRITE, as all of them can be.
  const events = ioEventFds.ofRegion(index).slice(0, peer.maxMsgFds);
  const needed = RegionIoFds.size + events.length * SubRegion.size;
  const payload = { argsz: needed, flags: 0, index, count: events.length, sub_regions: [] };
  if (argsz < needed) return { payload };
  const portIo = ioEventFds.isPortIo(index) ? IoEventFdFlags.PIO : 0;
  const sub_regions = events.map(({ event }, fd_index) => ({
    offset: BigInt(event.offset),
    size: BigInt(event.size),
    fd_index,
    type: IoFdType.IOEVENTFD,
    flags: portIo | (event.dataMatch === undefined ? 0 : IoEventFdFlags.DATAMATCH),
    padding: 0,
    datamatch: BigInt(event.dataMatch ?? 0),
  }));
  return { payload: { ...payload, sub_regions }, fds: events.map(({ fd }) => fd) };
};

export const getIrqInfo: Handler<"DEVICE_GET_IRQ_INFO"> = ({ device }, { index }) => {
  const { flags, count } = device.irqInfo(index);
  return { payload: { argsz: IrqInfo.size, flags, index, count } };
};
