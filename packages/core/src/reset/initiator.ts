/**
 * Every path that can reset a device, and what it is. A reset names its initiator at the door (door.ts), so that a
 * path cannot be added without an entry here.
 */
export const initiators = {
  /** VFIO_DEVICE_RESET, VFIO_USER_DEVICE_RESET. */
  ioctl: { title: "VFIO_DEVICE_RESET" },
  /** Initiate Function Level Reset in the PCI Express capability's Device Control (PCIe 6.0 §7.5.3.4). */
  "flr-pcie": { title: "FLR by the PCI Express capability" },
  /** Initiate FLR in the Advanced Features capability's control byte (PCI AF ECN). */
  "flr-af": { title: "FLR by the Advanced Features capability" },
  /** D3hot to D0 of a function without No_Soft_Reset (PCI PM 1.2 §3.2.4). */
  "power-on": { title: "D3hot to D0 without No_Soft_Reset" },
  /** A client that left the device in ERROR: the next one must find it running. */
  disconnect: { title: "client disconnect in ERROR" },
} as const satisfies Record<string, { title: string }>;

export type ResetInitiator = keyof typeof initiators;
