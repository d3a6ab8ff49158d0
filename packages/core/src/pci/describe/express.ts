import {
  PciExp,
  PciExpDevcap,
  PciExpDevctl,
  PciExpDevsta,
  PciExpFlags,
  PciExpLnkcap,
  PciExpLnkctl,
  PciExpLnksta,
  PciExpType,
} from "../registers.js";
import type { CapabilitySpec } from "./capability.js";
import { EXPRESS_2, hasLink, typeOf } from "./express2.js";
import { bits, type RegisterReader, type RegisterSpec } from "./register.js";

const TYPE_NAMES: Readonly<Record<number, string>> = {
  0x0: "Endpoint",
  0x1: "Legacy Endpoint",
  0x4: "Root Port",
  0x5: "Upstream Port",
  0x6: "Downstream Port",
  0x7: "PCI-Express to PCI/PCI-X Bridge",
  0x8: "PCI/PCI-X to PCI-Express Bridge",
  0x9: "Root Complex Integrated Endpoint",
  0xa: "Root Complex Event Collector",
};
const ROOT_PORT = 0x4;
const UPSTREAM_PORT = 0x5;
const DOWNSTREAM_PORT = 0x6;
const PCI_BRIDGE = 0x7;
const PCIE_BRIDGE = 0x8;
const { ENDPOINT, LEG_END, RC_END } = PciExpType;

const L0S_LATENCIES = ["<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited"];
const L1_LATENCIES = ["<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited"];
const LINK_SPEEDS = ["2.5GT/s", "5GT/s", "8GT/s", "16GT/s", "32GT/s", "64GT/s"];
const ASPM_SUPPORT = ["not supported", "L0s", "L1", "L0s L1"];
const ASPM_ENABLED = ["Disabled", "L0s Enabled", "L1 Enabled", "L0s L1 Enabled"];
/** Watts for each unit of the slot power limit. */
const POWER_SCALES = [1, 0.1, 0.01, 0.001];
const TEE_IO = 0x40000000;
const LNKSTA_TRAINING_ERROR = 0x0400;

/** A field of some device types only. */
function ofTypes<T>(types: readonly number[], field: (value: number, reader: RegisterReader) => T) {
  return (value: number, reader: RegisterReader): T | undefined =>
    types.includes(typeOf(reader)) ? field(value, reader) : undefined;
}

/** A flag of some device types only. */
function flagOfTypes(types: readonly number[], mask: number) {
  return ofTypes(types, (value) => (value & mask) !== 0);
}

function payload(mask: number): (value: number) => number {
  return (value) => 128 << bits(mask)(value);
}

function linkSpeed(code: number): string {
  return LINK_SPEEDS[code - 1] ?? "unknown";
}

/** How a link's state compares with what it is capable of. */
function compare(state: number, capable: number): string | undefined {
  if (state === capable) return undefined;
  return state < capable ? "downgraded" : "overdriven";
}

function slotPowerLimit(value: number): string {
  const limit = bits(PciExpDevcap.PWR_VAL)(value);
  const scale = bits(PciExpDevcap.PWR_SCL)(value);
  // PCIe 6.0 §7.5.3.3: with a scale of 1, 0xf0 to 0xfe are 250 W and every 25 W from there; 0xff is beyond 600 W.
  if (scale === 0 && limit === 0xff) return ">600W";
  if (scale === 0 && limit >= 0xf0) return `${250 + 25 * (limit - 0xf0)}W`;
  return `${Number((limit * POWER_SCALES[scale]!).toPrecision(6))}W`;
}

const DEVICE: readonly RegisterSpec[] = [
  {
    name: "DevCap",
    offset: PciExp.DEVCAP,
    size: 4,
    fields: {
      MaxPayload: payload(PciExpDevcap.PAYLOAD),
      PhantFunc: (value) => (1 << bits(PciExpDevcap.PHANTOM)(value)) - 1,
      L0s: ofTypes([ENDPOINT, LEG_END], (value) => L0S_LATENCIES[bits(PciExpDevcap.L0S)(value)]!),
      L1: ofTypes([ENDPOINT, LEG_END], (value) => L1_LATENCIES[bits(PciExpDevcap.L1)(value)]!),
      ExtTag: PciExpDevcap.EXT_TAG,
      AttnBtn: flagOfTypes([ENDPOINT, LEG_END, UPSTREAM_PORT, PCI_BRIDGE], PciExpDevcap.ATN_BUT),
      AttnInd: flagOfTypes([ENDPOINT, LEG_END, UPSTREAM_PORT, PCI_BRIDGE], PciExpDevcap.ATN_IND),
      PwrInd: flagOfTypes([ENDPOINT, LEG_END, UPSTREAM_PORT, PCI_BRIDGE], PciExpDevcap.PWR_IND),
      RBE: PciExpDevcap.RBER,
      FLReset: flagOfTypes([ENDPOINT, LEG_END, RC_END], PciExpDevcap.FLR),
      SlotPowerLimit: ofTypes([ENDPOINT, UPSTREAM_PORT, PCI_BRIDGE], slotPowerLimit),
      "TEE-IO": TEE_IO,
    },
    lines: [
      "DevCap:\tMaxPayload {MaxPayload} bytes, PhantFunc {PhantFunc}[, Latency L0s {L0s}, L1 {L1}]",
      "\t{ExtTag}[ {AttnBtn} {AttnInd} {PwrInd}] {RBE}[ {FLReset}][ SlotPowerLimit {SlotPowerLimit}] {TEE-IO}",
    ],
  },
  {
    name: "DevCtl",
    offset: PciExp.DEVCTL,
    size: 2,
    fields: {
      CorrErr: PciExpDevctl.CERE,
      NonFatalErr: PciExpDevctl.NFERE,
      FatalErr: PciExpDevctl.FERE,
      UnsupReq: PciExpDevctl.URRE,
      RlxdOrd: PciExpDevctl.RELAX_EN,
      ExtTag: PciExpDevctl.EXT_TAG,
      PhantFunc: PciExpDevctl.PHANTOM,
      AuxPwr: PciExpDevctl.AUX_PME,
      NoSnoop: PciExpDevctl.NOSNOOP_EN,
      BrConfRtry: flagOfTypes([PCI_BRIDGE], PciExpDevctl.BCR_FLR),
      FLReset: ofTypes([ENDPOINT, LEG_END, RC_END], (value, reader) =>
        (reader.u32(PciExp.DEVCAP) & PciExpDevcap.FLR) === 0
          ? undefined
          : (value & PciExpDevctl.BCR_FLR) !== 0,
      ),
      MaxPayload: payload(PciExpDevctl.PAYLOAD),
      MaxReadReq: payload(PciExpDevctl.READRQ),
    },
    lines: [
      "DevCtl:\t{CorrErr} {NonFatalErr} {FatalErr} {UnsupReq}",
      "\t{RlxdOrd} {ExtTag} {PhantFunc} {AuxPwr} {NoSnoop}[ {BrConfRtry}][ {FLReset}]",
      "\tMaxPayload {MaxPayload} bytes, MaxReadReq {MaxReadReq} bytes",
    ],
  },
  {
    name: "DevSta",
    offset: PciExp.DEVSTA,
    size: 2,
    fields: {
      CorrErr: PciExpDevsta.CED,
      NonFatalErr: PciExpDevsta.NFED,
      FatalErr: PciExpDevsta.FED,
      UnsupReq: PciExpDevsta.URD,
      AuxPwr: PciExpDevsta.AUXPD,
      TransPend: PciExpDevsta.TRPND,
    },
    lines: ["DevSta:\t{CorrErr} {NonFatalErr} {FatalErr} {UnsupReq} {AuxPwr} {TransPend}"],
  },
];

const LINK: readonly RegisterSpec[] = [
  {
    name: "LnkCap",
    offset: PciExp.LNKCAP,
    size: 4,
    fields: {
      Port: bits(PciExpLnkcap.PN),
      Speed: (value) => linkSpeed(bits(PciExpLnkcap.SLS)(value)),
      Width: bits(PciExpLnkcap.MLW),
      ASPM: (value) => ASPM_SUPPORT[bits(PciExpLnkcap.ASPMS)(value)]!,
      "Exit Latency": (value) => exitLatency(value),
      ClockPM: PciExpLnkcap.CLKPM,
      Surprise: PciExpLnkcap.SDERC,
      LLActRep: PciExpLnkcap.DLLLARC,
      BwNot: PciExpLnkcap.LBNC,
      ASPMOptComp: PciExpLnkcap.ASPM_OPTIONALITY,
    },
    lines: [
      "LnkCap:\tPort #{Port}, Speed {Speed}, Width x{Width}, ASPM {ASPM}[, Exit Latency {Exit Latency}]",
      "\t{ClockPM} {Surprise} {LLActRep} {BwNot} {ASPMOptComp}",
    ],
    exists: hasLink,
  },
  {
    name: "LnkCtl",
    offset: PciExp.LNKCTL,
    size: 2,
    fields: {
      ASPM: (value) => ASPM_ENABLED[bits(PciExpLnkctl.ASPMC)(value)]!,
      RCB: ofTypes([ROOT_PORT, ENDPOINT, LEG_END, PCI_BRIDGE], (value) =>
        (value & PciExpLnkctl.RCB) === 0 ? 64 : 128,
      ),
      LnkDisable: PciExpLnkctl.LD,
      CommClk: PciExpLnkctl.CCC,
      ExtSynch: PciExpLnkctl.ES,
      ClockPM: PciExpLnkctl.CLKREQ_EN,
      AutWidDis: PciExpLnkctl.HAWD,
      BWInt: PciExpLnkctl.LBMIE,
      AutBWInt: PciExpLnkctl.LABIE,
    },
    lines: [
      "LnkCtl:\tASPM {ASPM};[ RCB {RCB} bytes,] {LnkDisable} {CommClk}",
      "\t{ExtSynch} {ClockPM} {AutWidDis} {BWInt} {AutBWInt}",
    ],
    exists: hasLink,
  },
  {
    name: "LnkSta",
    offset: PciExp.LNKSTA,
    size: 2,
    fields: {
      Speed: (value) => linkSpeed(bits(PciExpLnksta.CLS)(value)),
      "Speed is": (value, reader) =>
        compare(bits(PciExpLnksta.CLS)(value), bits(PciExpLnkcap.SLS)(reader.u32(PciExp.LNKCAP))),
      Width: bits(PciExpLnksta.NLW),
      "Width is": (value, reader) =>
        compare(bits(PciExpLnksta.NLW)(value), bits(PciExpLnkcap.MLW)(reader.u32(PciExp.LNKCAP))),
      TrErr: LNKSTA_TRAINING_ERROR,
      Train: PciExpLnksta.LT,
      SlotClk: PciExpLnksta.SLC,
      DLActive: PciExpLnksta.DLLLA,
      BWMgmt: PciExpLnksta.LBMS,
      ABWMgmt: PciExpLnksta.LABS,
    },
    lines: [
      "LnkSta:\tSpeed {Speed}[ ({Speed is})], Width x{Width}[ ({Width is})]",
      "\t{TrErr} {Train} {SlotClk} {DLActive} {BWMgmt} {ABWMgmt}",
    ],
    exists: hasLink,
  },
];

function exitLatency(value: number): string | undefined {
  const aspm = bits(PciExpLnkcap.ASPMS)(value);
  const latencies = [
    ...((aspm & 1) === 0 ? [] : [`L0s ${L0S_LATENCIES[bits(PciExpLnkcap.L0SEL)(value)]!}`]),
    ...((aspm & 2) === 0 ? [] : [`L1 ${L1_LATENCIES[bits(PciExpLnkcap.L1EL)(value)]!}`]),
  ];
  return latencies.length === 0 ? undefined : latencies.join(", ");
}

/** Endpoints are decoded whole; of ports and bridges, what they have in common with endpoints. */
export const EXPRESS: CapabilitySpec = {
  name: "Express",
  title: {
    name: "Express",
    offset: PciExp.FLAGS,
    size: 2,
    fields: {
      Version: bits(PciExpFlags.VERS),
      Type: (_value, reader) => TYPE_NAMES[typeOf(reader)] ?? `Unknown type ${typeOf(reader)}`,
      Slot: flagOfTypes([ROOT_PORT, DOWNSTREAM_PORT, PCIE_BRIDGE], PciExpFlags.SLOT),
      IntMsgNum: bits(PciExpFlags.IRQ),
    },
    lines: ["Express (v{Version}) {Type}[ ({Slot})], IntMsgNum {IntMsgNum}"],
  },
  registers: [...DEVICE, ...LINK, ...EXPRESS_2],
};
