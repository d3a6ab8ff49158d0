/**
 * PCI configuration space: offsets and bits, by their names in the PCI specifications and in Linux's
 * include/uapi/linux/pci_regs.h (less the prefix). Offsets of capability registers count from the
 * capability's first byte.
 */

export const CONFIG_SPACE_SIZE = 0x100;
/** With PCI Express: extended capabilities follow from 0x100. */
export const CONFIG_SPACE_EXP_SIZE = 0x1000;

/** Type 0 header. PCI 3.0 §6.1 */
export const PciHeader = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION_ID: 0x08,
  CLASS_PROG: 0x09,
  CLASS_DEVICE: 0x0a,
  CACHE_LINE_SIZE: 0x0c,
  LATENCY_TIMER: 0x0d,
  HEADER_TYPE: 0x0e,
  BIST: 0x0f,
  BASE_ADDRESS_0: 0x10,
  CARDBUS_CIS: 0x28,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  ROM_ADDRESS: 0x30,
  CAPABILITY_LIST: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
  MIN_GNT: 0x3e,
  MAX_LAT: 0x3f,
} as const;
/** PCI_STD_HEADER_SIZEOF: bytes of the header, where capabilities may begin. */
export const STD_HEADER_SIZEOF = 0x40;
/** PCI_STD_NUM_BARS: BARs of a function with a header of type 0. */
export const NUM_BARS = 6;

/** PCI_COMMAND_*: bits of the command register. */
export const PciCommand = {
  IO: 0x0001,
  MEMORY: 0x0002,
  MASTER: 0x0004,
  SPECIAL: 0x0008,
  INVALIDATE: 0x0010,
  VGA_PALETTE: 0x0020,
  PARITY: 0x0040,
  WAIT: 0x0080,
  SERR: 0x0100,
  FAST_BACK: 0x0200,
  INTX_DISABLE: 0x0400,
} as const;

/** PCI_STATUS_*: bits of the status register. */
export const PciStatus = {
  INTERRUPT: 0x0008,
  CAP_LIST: 0x0010,
  "66MHZ": 0x0020,
  UDF: 0x0040,
  FAST_BACK: 0x0080,
  PARITY: 0x0100,
  DEVSEL_MASK: 0x0600,
  SIG_TARGET_ABORT: 0x0800,
  REC_TARGET_ABORT: 0x1000,
  REC_MASTER_ABORT: 0x2000,
  SIG_SYSTEM_ERROR: 0x4000,
  DETECTED_PARITY: 0x8000,
} as const;

/** PCI_HEADER_TYPE_*. */
export const PciHeaderType = { NORMAL: 0, BRIDGE: 1, CARDBUS: 2, MASK: 0x7f, MULTIFUNCTION: 0x80 } as const;

/** Base address registers. PCI 3.0 §6.2.5.1 */
export const PciBar = {
  SPACE_IO: 0x1,
  MEM_TYPE_MASK: 0x6,
  MEM_TYPE_32: 0x0,
  MEM_TYPE_1M: 0x2,
  MEM_TYPE_64: 0x4,
  MEM_PREFETCH: 0x8,
  MEM_MASK: 0xfffffff0,
  IO_MASK: 0xfffffffc,
} as const;
/** PCI_ROM_ADDRESS_*: bits of the expansion ROM's BAR. */
export const PciRom = { ENABLE: 0x1, MASK: 0xfffff800 } as const;

/** PCI_CAP_LIST_*: offsets within any capability. */
export const PciCap = { ID: 0, NEXT: 1, FLAGS: 2 } as const;
/** PCI_CAP_ID_*: what a capability is. */
export const PciCapId = {
  PM: 0x01,
  MSI: 0x05,
  VNDR: 0x09,
  EXP: 0x10,
  MSIX: 0x11,
  AF: 0x13,
} as const;

/** PCI Power Management 1.2 §3.2 */
export const PciPm = { PMC: 2, CTRL: 4, PPB_EXTENSIONS: 6, DATA: 7, SIZEOF: 8 } as const;
/** PCI_PM_CAP_*: Power Management Capabilities. */
export const PciPmc = {
  VER_MASK: 0x0007,
  PME_CLOCK: 0x0008,
  DSI: 0x0020,
  AUX_POWER: 0x01c0,
  D1: 0x0200,
  D2: 0x0400,
  PME_D0: 0x0800,
  PME_D1: 0x1000,
  PME_D2: 0x2000,
  PME_D3HOT: 0x4000,
  PME_D3COLD: 0x8000,
} as const;
/** PCI_PM_CTRL_*: Power Management Control and Status. */
export const PciPmCtrl = {
  STATE_MASK: 0x0003,
  NO_SOFT_RESET: 0x0008,
  PME_ENABLE: 0x0100,
  DATA_SEL_MASK: 0x1e00,
  DATA_SCALE_MASK: 0x6000,
  PME_STATUS: 0x8000,
} as const;
/** The values of PciPmCtrl.STATE_MASK. */
export const PowerState = { D0: 0, D1: 1, D2: 2, D3HOT: 3 } as const;

/** Message Signalled Interrupts. PCI 3.0 §6.8.1 */
export const PciMsi = {
  FLAGS: 2,
  ADDRESS_LO: 4,
  ADDRESS_HI: 8,
  DATA_32: 8,
  MASK_32: 12,
  PENDING_32: 16,
  DATA_64: 12,
  MASK_64: 16,
  PENDING_64: 20,
} as const;
/** PCI_MSI_FLAGS_*: MSI Message Control. */
export const PciMsiFlags = {
  ENABLE: 0x0001,
  QMASK: 0x000e,
  QSIZE: 0x0070,
  "64BIT": 0x0080,
  MASKBIT: 0x0100,
} as const;

/** MSI-X. PCI 3.0 §6.8.2 */
export const PciMsix = { FLAGS: 2, TABLE: 4, PBA: 8, SIZEOF: 12 } as const;
/** PCI_MSIX_FLAGS_*: MSI-X Message Control. */
export const PciMsixFlags = { QSIZE: 0x07ff, MASKALL: 0x4000, ENABLE: 0x8000 } as const;
/** Of the TABLE and PBA registers: which BAR, and where in it. */
export const PciMsixBir = { BIR: 0x7, OFFSET: 0xfffffff8 } as const;
/** PCI_MSIX_ENTRY_*: offsets within an entry of the MSI-X table, and its size in bytes. */
export const PciMsixEntry = { LOWER_ADDR: 0, UPPER_ADDR: 4, DATA: 8, VECTOR_CTRL: 12, SIZE: 16 } as const;
/** PCI_MSIX_ENTRY_CTRL_*: Vector Control. */
export const PciMsixEntryCtrl = { MASKBIT: 1 } as const;

/** Advanced Features: function level reset for conventional PCI. PCI ECN "Advanced Capabilities" */
export const PciAf = { LENGTH: 2, CAP: 3, CTRL: 4, STATUS: 5, SIZEOF: 6 } as const;
/** PCI_AF_CAP_*: what the Advanced Features capability offers. */
export const PciAfCap = { TP: 0x01, FLR: 0x02 } as const;
/** PCI_AF_CTRL_*: FLR by the Advanced Features capability. */
export const PciAfCtrl = { FLR: 0x01 } as const;
/** PCI_AF_STATUS_*. */
export const PciAfStatus = { TP: 0x01 } as const;

export * from "./express-registers.js";

/** Extended capabilities: a 32-bit header of id, version and the next one's offset. PCIe 6.0 §7.6.3 */
export const PciExtCapId = { ERR: 0x0001, DSN: 0x0003, VNDR: 0x000b } as const;
/** PCI_EXT_CAP_*: the first 32 bits of an extended capability. */
export const PciExtCapHeader = { ID: 0x0000ffff, VERSION_SHIFT: 16, NEXT_SHIFT: 20 } as const;

/** Advanced Error Reporting. PCIe 6.0 §7.8.4 */
export const PciErr = {
  UNCOR_STATUS: 4,
  UNCOR_MASK: 8,
  UNCOR_SEVER: 12,
  COR_STATUS: 16,
  COR_MASK: 20,
  CAP: 24,
  HEADER_LOG: 28,
  ROOT_COMMAND: 44,
  ROOT_STATUS: 48,
  ROOT_ERR_SRC: 52,
  PREFIX_LOG: 56,
  SIZEOF: 72,
} as const;
/** PCI_ERR_UNC_*: uncorrectable errors. */
export const PciErrUncor = {
  DLP: 0x00000010,
  SURPDN: 0x00000020,
  POISON_TLP: 0x00001000,
  FCP: 0x00002000,
  COMP_TIME: 0x00004000,
  COMP_ABORT: 0x00008000,
  UNX_COMP: 0x00010000,
  RX_OVER: 0x00020000,
  MALF_TLP: 0x00040000,
  ECRC: 0x00080000,
  UNSUP: 0x00100000,
  ACSV: 0x00200000,
  INTN: 0x00400000,
} as const;
/** PCI_ERR_COR_*: correctable errors. */
export const PciErrCor = {
  RCVR: 0x00000001,
  BAD_TLP: 0x00000040,
  BAD_DLLP: 0x00000080,
  REP_ROLL: 0x00000100,
  REP_TIMER: 0x00001000,
  ADV_NFAT: 0x00002000,
} as const;
/** PCI_ERR_CAP_*: Advanced Error Capabilities and Control. */
export const PciErrCap = {
  FEP: 0x0000001f,
  ECRC_GENC: 0x00000020,
  ECRC_GENE: 0x00000040,
  ECRC_CHKC: 0x00000080,
  ECRC_CHKE: 0x00000100,
} as const;

/** Device Serial Number. PCIe 6.0 §7.9.3 */
export const PciDsn = { LOWER: 4, UPPER: 8, SIZEOF: 12 } as const;
