/** What the core does around one kind of reset, and where Linux has it. */
export interface InitiatorRules {
  readonly title: string;
  /** The function in Linux that this entry is the counterpart of. */
  readonly linux: string;
  /** "function": this one is reset. "set": the bus, with every function of the device set. */
  readonly scope: "function" | "set";
  /** The path holds deviceSet.lock. */
  readonly setLock: boolean;
  /** The path holds memoryLock for writing (of every device of the set), having zapped the BARs. */
  readonly memoryLock: boolean;
  /** A function that runtime power management has suspended is resumed for it (Linux: pm_runtime_resume_and_get). */
  readonly wakes: boolean;
  /** The function is brought to D0 first. */
  readonly powersOn: boolean;
  /** "try": EAGAIN while somebody else has the device's own lock. "wait": waits for it. "none": does not take it. */
  readonly deviceLock: "try" | "wait" | "none";
  /** EINVAL for a device whose reset was found not to work when it was opened. */
  readonly needsResetWorks: boolean;
  /** Linux calls the driver's reset_done on this path. Where it does not, drivers never hear of the reset. */
  readonly resetDone: boolean;
}

const inFunction = {
  scope: "function",
  setLock: false,
  memoryLock: true,
  wakes: false,
  powersOn: false,
  deviceLock: "try",
  needsResetWorks: false,
  resetDone: true,
} as const;

const inSet = { ...inFunction, scope: "set", setLock: true } as const;

/**
 * Every path that can reset a device. A reset names its initiator at the entry point (entry.ts), and what surrounds it is read
 * from here, so that a path cannot be added without an entry, nor an entry without the tests that go through all.
 */
export const initiators = {
  ioctl: {
    ...inFunction,
    title: "VFIO_DEVICE_RESET",
    linux: "vfio_pci_ioctl_reset",
    wakes: true,
    powersOn: true,
    needsResetWorks: true,
  },
  "flr-pcie": {
    ...inFunction,
    title: "FLR by the PCI Express capability",
    linux: "vfio_exp_config_write",
  },
  "flr-af": {
    ...inFunction,
    title: "FLR by the Advanced Features capability",
    linux: "vfio_af_config_write",
  },
  /** PCI PM 1.2 §3.2.4: the function comes back from D3hot as after a reset. The PCI core sees a power transition. */
  "power-on": {
    ...inFunction,
    title: "D3hot to D0 without No_Soft_Reset",
    linux: "vfio_pci_set_power_state",
    deviceLock: "none",
    resetDone: false,
  },
  "hot-reset": {
    ...inSet,
    title: "VFIO_DEVICE_PCI_HOT_RESET",
    linux: "vfio_pci_dev_set_hot_reset",
    wakes: true,
    powersOn: true,
  },
  enable: {
    ...inFunction,
    title: "try-reset on first open",
    linux: "vfio_pci_core_enable",
    setLock: true,
    memoryLock: false,
    powersOn: true, // pci_enable_device
  },
  /** Linux resets the function here without the calls to its driver around it (__pci_reset_function_locked). */
  disable: {
    ...inFunction,
    title: "reset on close",
    linux: "vfio_pci_core_disable",
    setLock: true,
    memoryLock: false,
    powersOn: true,
    resetDone: false,
  },
  "last-close": {
    ...inSet,
    title: "try-reset of the set at its last close",
    linux: "vfio_pci_dev_set_try_reset",
    memoryLock: false,
    wakes: true,
  },
  sysfs: {
    ...inFunction,
    title: "administrator's reset (sysfs)",
    linux: "reset_store",
    memoryLock: false,
    wakes: true,
    deviceLock: "wait",
  },
  /** The link is reset because of an error; drivers without a slot_reset handler, as vfio-pci, hear nothing more. */
  "slot-reset": {
    ...inFunction,
    title: "error recovery (slot reset)",
    linux: "pcie_do_recovery",
    memoryLock: false,
    deviceLock: "wait",
    resetDone: false,
  },
  /** D3cold lost the function's state. */
  "runtime-resume": {
    ...inFunction,
    title: "resume from D3cold (runtime PM)",
    linux: "vfio_pci_core_runtime_resume",
    memoryLock: false,
    deviceLock: "none",
    resetDone: false,
  },
  /**
   * vfio-user only. A client that left the device in ERROR, or with an image that it had loaded: the next one must find
   * it running, and not on a state that runs elsewhere.
   */
  disconnect: {
    ...inFunction,
    title: "client disconnect in ERROR, or after a load",
    linux: "none: the device is closed, then opened anew",
    wakes: true,
    powersOn: true,
    deviceLock: "wait",
  },
} as const satisfies Record<string, InitiatorRules>;

/** A path that can reset a device, by its name. */
export type ResetInitiator = keyof typeof initiators;
