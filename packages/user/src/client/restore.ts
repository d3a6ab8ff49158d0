/** A new server in the old one's place: the DMA maps and interrupts that the client had set up. */

import { DmaMap, DmaMapFlags, IrqSet } from "../wire/index.js";
import type { CallOptions } from "../socket/index.js";
import type { Connection } from "./connection.js";
import type { DmaMapping, DmaMaps } from "./dma.js";
import type { ClientIrq, IrqCommands } from "./irq.js";

/** @throws VfioError, where the server does not take what the old one took */
export async function restore(
  connection: Connection,
  maps: DmaMaps,
  irqs: Iterable<ClientIrq>,
  call: CallOptions,
): Promise<void> {
  await Promise.all(maps.all.map((map) => sendMap(connection, map, call)));
  const commands: IrqCommands = {
    setIrqs: async (request, fds) => {
      const payload = { argsz: IrqSet.size + request.data.length, ...request };
      await connection.call("DEVICE_SET_IRQS", payload, { ...call, fds });
    },
    maxFds: () => connection.limits.maxMsgFds,
  };
  await Promise.all(Array.from(irqs, (irq) => irq.restore(commands, call)));
}

export async function sendMap(connection: Connection, map: DmaMapping, call: CallOptions): Promise<void> {
  const { address, size, memory, offset, readable, writable, share } = map;
  const flags = (readable ? DmaMapFlags.READ : 0) | (writable ? DmaMapFlags.WRITE : 0);
  const request = {
    argsz: DmaMap.size,
    flags,
    // vfio-user: zero if the region is not mappable.
    offset: BigInt(share ? offset : 0),
    address,
    size: BigInt(size),
  };
  await connection.call("DMA_MAP", request, { ...call, fds: share ? [memory.file!] : [] });
}
