import { VfioError } from "@vfiokit/core";
import { createBacking } from "../linux/index.js";
import { DmaMapFlags, DmaUnmapFlags } from "../wire/index.js";
import type { Handler } from "./session.js";

export const dmaMap: Handler<"DMA_MAP"> = ({ device, task, settings }, request, { fds }) => {
  const { flags, offset, address, size } = request;
  if (fds.length > 1) throw new VfioError("EINVAL", `${fds.length} descriptors: DMA_MAP takes at most one`);
  const writable = (flags & DmaMapFlags.WRITE) !== 0;
  const fd = fds.shift();
  // A file cannot hold what is beyond 2^53, so the loss of precision only changes what the refusal says.
  const backing =
    fd &&
    createBacking(fd, {
      offset: Number(offset),
      length: Number(size),
      writable,
      access: flags & DmaMapFlags.FILE_IO ? "file" : settings.dmaAccess,
    });
  const readable = (flags & DmaMapFlags.READ) !== 0;
  const wait = device.dma.map(task, { address, size, readable, writable, backing });
  return wait ? wait.then(() => ({ payload: {} })) : { payload: {} };
};

/** The reply is sent once the device has let go of the memory (vfio-user, DMA_UNMAP). */
export const dmaUnmap: Handler<"DMA_UNMAP"> = ({ device, task, settings }, request) => {
  const { flags, address, size } = request;
  const wait =
    flags & DmaUnmapFlags.ALL
      ? device.dma.unmapAll(task)
      : device.dma.unmap(task, address, size, settings.strictUnmap);
  return wait ? wait.then(() => ({ payload: request })) : { payload: request };
};
