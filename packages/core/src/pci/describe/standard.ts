import {
  PciAf,
  PciAfCap,
  PciAfCtrl,
  PciAfStatus,
  PciCap,
  PciMsi,
  PciMsiFlags,
  PciMsix,
  PciMsixBir,
  PciMsixFlags,
  PciPm,
  PciPmc,
  PciPmCtrl,
} from "../registers.js";
import type { CapabilitySpec } from "./capability.js";
import { bits, hex, type RegisterReader } from "./register.js";

/** Capabilities that are named, not decoded. */
export const STANDARD_NAMES: Readonly<Record<number, string>> = {
  0x00: "Null",
  0x02: "AGP <?>",
  0x03: "Vital Product Data <?>",
  0x04: "Slot ID <?>",
  0x06: "CompactPCI hot-swap <?>",
  0x07: "PCI-X <?>",
  0x08: "HyperTransport <?>",
  0x0a: "Debug port <?>",
  0x0b: "CompactPCI central resource control <?>",
  0x0c: "Hot-plug capable",
  0x0d: "Bridge subsystem <?>",
  0x0e: "AGP3 <?>",
  0x0f: "Secure device <?>",
  0x12: "SATA HBA <?>",
  0x14: "Enhanced Allocation (EA) <?>",
};

/** PCI PM 1.2 §3.2.3: what the codes of the auxiliary current field mean. */
const AUX_CURRENT_MA = [0, 55, 100, 160, 220, 270, 320, 375];

/** Bits of the PPB extensions register. */
const PPB = { B2_B3: 0x40, BPCC_ENABLE: 0x80 } as const;

export const PM: CapabilitySpec = {
  name: "Power Management",
  title: {
    name: "Power Management",
    offset: PciPm.PMC,
    size: 2,
    fields: { Version: bits(PciPmc.VER_MASK) },
    lines: ["Power Management version {Version}"],
  },
  registers: [
    {
      name: "Flags",
      offset: PciPm.PMC,
      size: 2,
      fields: {
        PMEClk: PciPmc.PME_CLOCK,
        DSI: PciPmc.DSI,
        D1: PciPmc.D1,
        D2: PciPmc.D2,
        AuxCurrent: (value) => AUX_CURRENT_MA[bits(PciPmc.AUX_POWER)(value)],
        "PME.D0": PciPmc.PME_D0,
        "PME.D1": PciPmc.PME_D1,
        "PME.D2": PciPmc.PME_D2,
        "PME.D3hot": PciPmc.PME_D3HOT,
        "PME.D3cold": PciPmc.PME_D3COLD,
      },
      lines: [
        "Flags: {PMEClk} {DSI} {D1} {D2} AuxCurrent={AuxCurrent}mA PME({PME.D0},{PME.D1},{PME.D2},{PME.D3hot},{PME.D3cold})",
      ],
    },
    {
      name: "Status",
      offset: PciPm.CTRL,
      size: 2,
      fields: {
        State: (value) => `D${value & PciPmCtrl.STATE_MASK}`,
        NoSoftRst: PciPmCtrl.NO_SOFT_RESET,
        "PME-Enable": PciPmCtrl.PME_ENABLE,
        DSel: bits(PciPmCtrl.DATA_SEL_MASK),
        DScale: bits(PciPmCtrl.DATA_SCALE_MASK),
        PME: PciPmCtrl.PME_STATUS,
      },
      lines: ["Status: {State} {NoSoftRst} {PME-Enable} DSel={DSel} DScale={DScale} {PME}"],
    },
    {
      name: "Bridge",
      offset: PciPm.PPB_EXTENSIONS,
      size: 1,
      fields: { PM: PPB.BPCC_ENABLE, B3: (value) => (value & PPB.B2_B3) === 0 },
      lines: ["Bridge: {PM} {B3}"],
      exists: (reader) => reader.u8(PciPm.PPB_EXTENSIONS) !== 0,
    },
  ],
};

export const MSI: CapabilitySpec = {
  name: "MSI",
  title: {
    name: "MSI",
    offset: PciMsi.FLAGS,
    size: 2,
    fields: {
      Enable: PciMsiFlags.ENABLE,
      Enabled: (value) => 1 << bits(PciMsiFlags.QSIZE)(value),
      Capable: (value) => 1 << bits(PciMsiFlags.QMASK)(value),
      Maskable: PciMsiFlags.MASKBIT,
      "64bit": PciMsiFlags["64BIT"],
    },
    lines: ["MSI: {Enable} Count={Enabled}/{Capable} {Maskable} {64bit}"],
  },
  registers: [
    {
      name: "Address",
      offset: PciMsi.ADDRESS_LO,
      size: 4,
      fields: {
        Address: (low, reader) =>
          (is64bit(reader) ? hex(reader.u32(PciMsi.ADDRESS_HI), 8) : "") + hex(low, 8),
        Data: (_low, reader) => hex(reader.u16(is64bit(reader) ? PciMsi.DATA_64 : PciMsi.DATA_32), 4),
      },
      lines: ["Address: {Address}  Data: {Data}"],
    },
    {
      name: "Masking",
      offset: PciMsi.MASK_32,
      size: 4,
      fields: {
        Masking: (_value, reader) => hex(reader.u32(is64bit(reader) ? PciMsi.MASK_64 : PciMsi.MASK_32), 8),
        Pending: (_value, reader) =>
          hex(reader.u32(is64bit(reader) ? PciMsi.PENDING_64 : PciMsi.PENDING_32), 8),
      },
      lines: ["Masking: {Masking}  Pending: {Pending}"],
      exists: (reader) => (reader.u16(PciMsi.FLAGS) & PciMsiFlags.MASKBIT) !== 0,
    },
  ],
};

function is64bit(reader: RegisterReader): boolean {
  return (reader.u16(PciMsi.FLAGS) & PciMsiFlags["64BIT"]) !== 0;
}

const BAR_LOCATION = {
  BAR: bits(PciMsixBir.BIR),
  Offset: (value: number) => hex((value & PciMsixBir.OFFSET) >>> 0, 8),
};

export const MSIX: CapabilitySpec = {
  name: "MSI-X",
  title: {
    name: "MSI-X",
    offset: PciMsix.FLAGS,
    size: 2,
    fields: {
      Enable: PciMsixFlags.ENABLE,
      Count: (value) => (value & PciMsixFlags.QSIZE) + 1,
      Masked: PciMsixFlags.MASKALL,
    },
    lines: ["MSI-X: {Enable} Count={Count} {Masked}"],
  },
  registers: [
    {
      name: "Vector table",
      offset: PciMsix.TABLE,
      size: 4,
      fields: BAR_LOCATION,
      lines: ["Vector table: BAR={BAR} offset={Offset}"],
    },
    {
      name: "PBA",
      offset: PciMsix.PBA,
      size: 4,
      fields: BAR_LOCATION,
      lines: ["PBA: BAR={BAR} offset={Offset}"],
    },
  ],
};

export const AF: CapabilitySpec = {
  name: "PCI Advanced Features",
  title: { name: "AF", offset: PciAf.LENGTH, size: 1, fields: {}, lines: ["PCI Advanced Features"] },
  registers: [
    {
      name: "AFCap",
      offset: PciAf.CAP,
      size: 1,
      fields: { TP: PciAfCap.TP, FLR: PciAfCap.FLR },
      lines: ["AFCap: {TP} {FLR}"],
    },
    { name: "AFCtrl", offset: PciAf.CTRL, size: 1, fields: { FLR: PciAfCtrl.FLR }, lines: ["AFCtrl: {FLR}"] },
    {
      name: "AFStatus",
      offset: PciAf.STATUS,
      size: 1,
      fields: { TP: PciAfStatus.TP },
      lines: ["AFStatus: {TP}"],
    },
  ],
};

export const VENDOR: CapabilitySpec = {
  name: "Vendor Specific Information",
  title: {
    name: "Vendor Specific Information",
    offset: PciCap.FLAGS,
    size: 1,
    fields: { Len: (value) => hex(value, 2) },
    lines: ["Vendor Specific Information: Len={Len} <?>"],
  },
  registers: [],
};
