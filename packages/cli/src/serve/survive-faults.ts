import type { PciDevice } from "@vfiokit/core";

/**
 * Keeps the process alive when a device's callback throws, or a promise of it rejects, and nobody is there to catch it.
 * Which device it was nothing tells: it counts as a fault of each, and they are the functions of one card.
 * @returns ends this
 */
export function surviveFaults(devices: readonly Pick<PciDevice, "countFault">[]): () => void {
  const onFault = (error: unknown): void => {
    for (const device of devices) device.countFault("a callback", error);
  };
  process.on("uncaughtException", onFault);
  process.on("unhandledRejection", onFault);
  return () => {
    process.off("uncaughtException", onFault);
    process.off("unhandledRejection", onFault);
  };
}
