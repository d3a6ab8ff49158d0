import { PciDsn, PciErr, PciErrCap, PciErrCor, PciErrUncor } from "../registers.js";
import type { CapabilitySpec } from "./capability.js";
import { bits, hex, type RegisterSpec } from "./register.js";

/** Extended capabilities that are named, not decoded. */
export const EXTENDED_NAMES: Readonly<Record<number, string>> = {
  0x00: "Null",
  0x02: "Virtual Channel <?>",
  0x04: "Power Budgeting <?>",
  0x05: "Root Complex Link <?>",
  0x06: "Root Complex Internal Link <?>",
  0x07: "Root Complex Event Collector Endpoint Association <?>",
  0x08: "Multi-Function Virtual Channel <?>",
  0x09: "Virtual Channel <?>",
  0x0a: "Root Complex Register Block <?>",
  0x0d: "Access Control Services <?>",
  0x0e: "Alternative Routing-ID Interpretation (ARI) <?>",
  0x0f: "Address Translation Service (ATS) <?>",
  0x10: "Single Root I/O Virtualization (SR-IOV) <?>",
  0x11: "Multi-Root I/O Virtualization <?>",
  0x12: "Multicast <?>",
  0x13: "Page Request Interface (PRI) <?>",
  0x15: "Physical Resizable BAR <?>",
  0x16: "Dynamic Power Allocation <?>",
  0x17: "Transaction Processing Hints <?>",
  0x18: "Latency Tolerance Reporting <?>",
  0x19: "Secondary PCI Express <?>",
  0x1a: "Protocol Multiplexing <?>",
  0x1b: "Process Address Space ID (PASID) <?>",
  0x1d: "Downstream Port Containment <?>",
  0x1e: "L1 PM Substates <?>",
  0x1f: "Precision Time Measurement <?>",
  0x22: "Readiness Time Reporting <?>",
  0x23: "Designated Vendor-Specific <?>",
  0x24: "Virtual Resizable BAR <?>",
  0x25: "Data Link Feature <?>",
  0x26: "Physical Layer 16.0 GT/s <?>",
  0x27: "Lane Margining at the Receiver <?>",
  0x2a: "Physical Layer 32.0 GT/s <?>",
  0x2e: "Data Object Exchange <?>",
  0x30: "Integrity & Data Encryption <?>",
};

/** Errors that no function here detects, and that may be set in a description all the same. PCIe 6.0 §7.8.4.2 */
const UNCORRECTABLE = {
  ...PciErrUncor,
  MC_BLOCKED: 0x00800000,
  ATOMIC_BLOCKED: 0x01000000,
  TLP_PREFIX_BLOCKED: 0x02000000,
  POISON_BLOCKED: 0x04000000,
  DMWR_BLOCKED: 0x08000000,
  IDE_CHECK: 0x10000000,
  MISROUTED_IDE: 0x20000000,
  PCRC_CHECK: 0x40000000,
  XLAT_BLOCKED: 0x80000000,
} as const;
const CORRECTABLE = { ...PciErrCor, INTERNAL: 0x00004000, LOG_OVER: 0x00008000 } as const;
const ERR_CAP = {
  ...PciErrCap,
  MULT_HDR_CAPABLE: 0x00000200,
  MULT_HDR_ENABLE: 0x00000400,
  TLP_PREFIX: 0x00000800,
  HDR_LOG: 0x00001000,
} as const;

function uncorrectable(name: string, offset: number): RegisterSpec {
  return {
    name,
    offset,
    size: 4,
    fields: {
      DLP: UNCORRECTABLE.DLP,
      SDES: UNCORRECTABLE.SURPDN,
      TLP: UNCORRECTABLE.POISON_TLP,
      FCP: UNCORRECTABLE.FCP,
      CmpltTO: UNCORRECTABLE.COMP_TIME,
      CmpltAbrt: UNCORRECTABLE.COMP_ABORT,
      UnxCmplt: UNCORRECTABLE.UNX_COMP,
      RxOF: UNCORRECTABLE.RX_OVER,
      MalfTLP: UNCORRECTABLE.MALF_TLP,
      ECRC: UNCORRECTABLE.ECRC,
      UnsupReq: UNCORRECTABLE.UNSUP,
      ACSViol: UNCORRECTABLE.ACSV,
      UncorrIntErr: UNCORRECTABLE.INTN,
      BlockedTLP: UNCORRECTABLE.MC_BLOCKED,
      AtomicOpBlocked: UNCORRECTABLE.ATOMIC_BLOCKED,
      TLPBlockedErr: UNCORRECTABLE.TLP_PREFIX_BLOCKED,
      PoisonTLPBlocked: UNCORRECTABLE.POISON_BLOCKED,
      DMWrReqBlocked: UNCORRECTABLE.DMWR_BLOCKED,
      IDECheck: UNCORRECTABLE.IDE_CHECK,
      MisIDETLP: UNCORRECTABLE.MISROUTED_IDE,
      PCRC_CHECK: UNCORRECTABLE.PCRC_CHECK,
      TLPXlatBlocked: UNCORRECTABLE.XLAT_BLOCKED,
    },
    lines: [
      `${name}:\t{DLP} {SDES} {TLP} {FCP} {CmpltTO} {CmpltAbrt} {UnxCmplt} {RxOF} {MalfTLP}`,
      "\t{ECRC} {UnsupReq} {ACSViol} {UncorrIntErr} {BlockedTLP} {AtomicOpBlocked} {TLPBlockedErr}",
      "\t{PoisonTLPBlocked} {DMWrReqBlocked} {IDECheck} {MisIDETLP} {PCRC_CHECK} {TLPXlatBlocked}",
    ],
  };
}

function correctable(name: string, offset: number): RegisterSpec {
  return {
    name,
    offset,
    size: 4,
    fields: {
      RxErr: CORRECTABLE.RCVR,
      BadTLP: CORRECTABLE.BAD_TLP,
      BadDLLP: CORRECTABLE.BAD_DLLP,
      Rollover: CORRECTABLE.REP_ROLL,
      Timeout: CORRECTABLE.REP_TIMER,
      AdvNonFatalErr: CORRECTABLE.ADV_NFAT,
      CorrIntErr: CORRECTABLE.INTERNAL,
      HeaderOF: CORRECTABLE.LOG_OVER,
    },
    lines: [
      `${name}:\t{RxErr} {BadTLP} {BadDLLP} {Rollover} {Timeout} {AdvNonFatalErr} {CorrIntErr} {HeaderOF}`,
    ],
  };
}

export const AER: CapabilitySpec = {
  name: "Advanced Error Reporting",
  title: { name: "AER", offset: 0, size: 4, fields: {}, lines: ["Advanced Error Reporting"] },
  registers: [
    uncorrectable("UESta", PciErr.UNCOR_STATUS),
    uncorrectable("UEMsk", PciErr.UNCOR_MASK),
    uncorrectable("UESvrt", PciErr.UNCOR_SEVER),
    correctable("CESta", PciErr.COR_STATUS),
    correctable("CEMsk", PciErr.COR_MASK),
    {
      name: "AERCap",
      offset: PciErr.CAP,
      size: 4,
      fields: {
        "First Error Pointer": (value) => hex(value & ERR_CAP.FEP, 2),
        ECRCGenCap: ERR_CAP.ECRC_GENC,
        ECRCGenEn: ERR_CAP.ECRC_GENE,
        ECRCChkCap: ERR_CAP.ECRC_CHKC,
        ECRCChkEn: ERR_CAP.ECRC_CHKE,
        MultHdrRecCap: ERR_CAP.MULT_HDR_CAPABLE,
        MultHdrRecEn: ERR_CAP.MULT_HDR_ENABLE,
        TLPPfxPres: ERR_CAP.TLP_PREFIX,
        HdrLogCap: ERR_CAP.HDR_LOG,
      },
      lines: [
        "AERCap:\tFirst Error Pointer: {First Error Pointer}, {ECRCGenCap} {ECRCGenEn} {ECRCChkCap} {ECRCChkEn}",
        "\t{MultHdrRecCap} {MultHdrRecEn} {TLPPfxPres} {HdrLogCap}",
      ],
    },
    {
      name: "HeaderLog",
      offset: PciErr.HEADER_LOG,
      size: 4,
      fields: {
        HeaderLog: (_value, reader) =>
          [0, 4, 8, 12].map((at) => hex(reader.u32(PciErr.HEADER_LOG + at), 8)).join(" "),
      },
      lines: ["HeaderLog: {HeaderLog}"],
    },
  ],
};

export const DSN: CapabilitySpec = {
  name: "Device Serial Number",
  title: {
    name: "Device Serial Number",
    offset: PciDsn.LOWER,
    size: 4,
    fields: {
      Serial: (lower, reader) =>
        (hex(reader.u32(PciDsn.UPPER), 8) + hex(lower, 8)).replace(/..(?=.)/g, (byte) => `${byte}-`),
    },
    lines: ["Device Serial Number {Serial}"],
  },
  registers: [],
};

const VSEC = { HEADER: 4, ID: 0x0000ffff, REV: 0x000f0000, LEN: 0xfff00000 } as const;

export const VENDOR_EXTENDED: CapabilitySpec = {
  name: "Vendor Specific Information",
  title: {
    name: "Vendor Specific Information",
    offset: VSEC.HEADER,
    size: 4,
    fields: {
      ID: (value) => hex(bits(VSEC.ID)(value), 4),
      Rev: bits(VSEC.REV),
      Len: (value) => hex(bits(VSEC.LEN)(value), 3),
    },
    lines: ["Vendor Specific Information: ID={ID} Rev={Rev} Len={Len} <?>"],
  },
  registers: [],
};
