import type { CommandName } from "../wire/index.js";
import { dmaMap, dmaUnmap } from "./dma.js";
import { deviceFeature, migDataRead, migDataWrite } from "./feature.js";
import { getInfo, getIrqInfo, getRegionInfo, getRegionIoFds } from "./info.js";
import { setIrqs } from "./irqs.js";
import { regionWriteMulti } from "./region-access.js";
import type { Handler } from "./session.js";

const deviceReset: Handler<"DEVICE_RESET"> = async ({ device, task }) => {
  // In every migration state: VFIO uAPI, VFIO_DEVICE_RESET returns the device to RUNNING, from ERROR too.
  await device.reset(task, "ioctl");
  return { payload: {} };
};

/** Commands of a client, but for VERSION (version.ts) and single region accesses (region-access.ts). */
export const handlers: { readonly [C in CommandName]?: Handler<C> } = {
  DMA_MAP: dmaMap,
  DMA_UNMAP: dmaUnmap,
  DEVICE_GET_INFO: getInfo,
  DEVICE_GET_REGION_INFO: getRegionInfo,
  DEVICE_GET_REGION_IO_FDS: getRegionIoFds,
  DEVICE_GET_IRQ_INFO: getIrqInfo,
  DEVICE_SET_IRQS: setIrqs,
  DEVICE_RESET: deviceReset,
  REGION_WRITE_MULTI: regionWriteMulti,
  DEVICE_FEATURE: deviceFeature,
  MIG_DATA_READ: migDataRead,
  MIG_DATA_WRITE: migDataWrite,
};
