/** Registers of the PCI Express capability, with the names of Linux (include/uapi/linux/pci_regs.h: PCI_EXP_*). */

/** PCI Express capability. PCIe 6.0 §7.5.3 */
export const PciExp = {
  FLAGS: 2,
  DEVCAP: 4,
  DEVCTL: 8,
  DEVSTA: 10,
  LNKCAP: 12,
  LNKCTL: 16,
  LNKSTA: 18,
  SLTCAP: 20,
  SLTCTL: 24,
  SLTSTA: 26,
  RTCTL: 28,
  RTCAP: 30,
  RTSTA: 32,
  DEVCAP2: 36,
  DEVCTL2: 40,
  DEVSTA2: 42,
  LNKCAP2: 44,
  LNKCTL2: 48,
  LNKSTA2: 50,
  SIZEOF_V2: 60,
} as const;
/** PCI_EXP_FLAGS_*: PCI Express Capabilities. */
export const PciExpFlags = { VERS: 0x000f, TYPE: 0x00f0, SLOT: 0x0100, IRQ: 0x3e00 } as const;
/** PCI_EXP_TYPE_*: what kind of device or port it is. */
export const PciExpType = { ENDPOINT: 0x0, LEG_END: 0x1, RC_END: 0x9 } as const;
/** PCI_EXP_DEVCAP_*: Device Capabilities. */
export const PciExpDevcap = {
  PAYLOAD: 0x00000007,
  PHANTOM: 0x00000018,
  EXT_TAG: 0x00000020,
  L0S: 0x000001c0,
  L1: 0x00000e00,
  ATN_BUT: 0x00001000,
  ATN_IND: 0x00002000,
  PWR_IND: 0x00004000,
  RBER: 0x00008000,
  PWR_VAL: 0x03fc0000,
  PWR_SCL: 0x0c000000,
  FLR: 0x10000000,
} as const;
/** PCI_EXP_DEVCTL_*: Device Control. */
export const PciExpDevctl = {
  CERE: 0x0001,
  NFERE: 0x0002,
  FERE: 0x0004,
  URRE: 0x0008,
  RELAX_EN: 0x0010,
  PAYLOAD: 0x00e0,
  EXT_TAG: 0x0100,
  PHANTOM: 0x0200,
  AUX_PME: 0x0400,
  NOSNOOP_EN: 0x0800,
  READRQ: 0x7000,
  READRQ_512B: 0x2000,
  BCR_FLR: 0x8000,
} as const;
/** PCI_EXP_DEVSTA_*: Device Status. */
export const PciExpDevsta = {
  CED: 0x0001,
  NFED: 0x0002,
  FED: 0x0004,
  URD: 0x0008,
  AUXPD: 0x0010,
  TRPND: 0x0020,
} as const;
/** PCI_EXP_LNKCAP_*: Link Capabilities. */
export const PciExpLnkcap = {
  SLS: 0x0000000f,
  MLW: 0x000003f0,
  ASPMS: 0x00000c00,
  L0SEL: 0x00007000,
  L1EL: 0x00038000,
  CLKPM: 0x00040000,
  SDERC: 0x00080000,
  DLLLARC: 0x00100000,
  LBNC: 0x00200000,
  ASPM_OPTIONALITY: 0x00400000,
  PN: 0xff000000,
} as const;
/** PCI_EXP_LNKCTL_*: Link Control. */
export const PciExpLnkctl = {
  ASPMC: 0x0003,
  RCB: 0x0008,
  LD: 0x0010,
  CCC: 0x0040,
  ES: 0x0080,
  CLKREQ_EN: 0x0100,
  HAWD: 0x0200,
  LBMIE: 0x0400,
  LABIE: 0x0800,
} as const;
/** PCI_EXP_LNKSTA_*: Link Status. */
export const PciExpLnksta = {
  CLS: 0x000f,
  NLW: 0x03f0,
  LT: 0x0800,
  SLC: 0x1000,
  DLLLA: 0x2000,
  LBMS: 0x4000,
  LABS: 0x8000,
} as const;
/** PCI_EXP_DEVCAP2_*: Device Capabilities 2. */
export const PciExpDevcap2 = { COMP_TMOUT_DIS: 0x00000010 } as const;
/** PCI_EXP_DEVCTL2_*: Device Control 2. */
export const PciExpDevctl2 = { COMP_TMOUT_DIS: 0x0010 } as const;
/** PCI_EXP_LNKCTL2_*: Link Control 2. */
export const PciExpLnkctl2 = { TLS: 0x000f } as const;
