import { PciExp, PciExpFlags, PciExpType } from "../registers.js";
import { bits, type RegisterReader, type RegisterSpec } from "./register.js";

/** The registers that came with version 2 of the capability. PCIe 6.0 §7.5.3.15 to §7.5.3.20 */

const DEVCAP2 = {
  TIMEOUT_RANGES: 0x0000000f,
  TIMEOUT_DISABLE: 0x00000010,
  ATOMIC_32: 0x00000080,
  ATOMIC_64: 0x00000100,
  ATOMIC_128: 0x00000200,
  NO_RO_PR_PR: 0x00000400,
  LTR: 0x00000800,
  TPH: 0x00003000,
  TAG_10BIT_COMPLETER: 0x00010000,
  TAG_10BIT_REQUESTER: 0x00020000,
  OBFF: 0x000c0000,
  EXT_FMT: 0x00100000,
  EETLP_PREFIX: 0x00200000,
  MAX_EETLP_PREFIXES: 0x00c00000,
  EMERGENCY_POWER: 0x03000000,
  EMERGENCY_POWER_INIT: 0x04000000,
  FRS: 0x80000000,
} as const;
const DEVCTL2 = {
  TIMEOUT_VALUE: 0x000f,
  TIMEOUT_DISABLE: 0x0010,
  ATOMIC_REQUESTER: 0x0040,
  IDO_REQUEST: 0x0100,
  IDO_COMPLETION: 0x0200,
  LTR: 0x0400,
  EMERGENCY_POWER: 0x0800,
  TAG_10BIT_REQUESTER: 0x1000,
  OBFF: 0x6000,
  EETLP_PREFIX_BLOCK: 0x8000,
} as const;
const LNKCAP2 = {
  SPEEDS: 0x000000fe,
  CROSSLINK: 0x00000100,
  RETIMER: 0x00800000,
  TWO_RETIMERS: 0x01000000,
  DRS: 0x80000000,
} as const;
const LNKCTL2 = {
  SPEED: 0x000f,
  ENTER_COMPLIANCE: 0x0010,
  SPEED_DISABLE: 0x0020,
  MARGIN: 0x0380,
  MODIFIED_COMPLIANCE: 0x0400,
  COMPLIANCE_SOS: 0x0800,
  PRESET: 0xf000,
} as const;
const LNKSTA2 = {
  DE_EMPHASIS: 0x0001,
  EQ_COMPLETE: 0x0002,
  EQ_PHASE1: 0x0004,
  EQ_PHASE2: 0x0008,
  EQ_PHASE3: 0x0010,
  EQ_REQUEST: 0x0020,
  RETIMER: 0x0040,
  TWO_RETIMERS: 0x0080,
  CROSSLINK: 0x0300,
} as const;

const ROOT_EVENT_COLLECTOR = 0xa;

const TIMEOUT_RANGES: Readonly<Record<number, string>> = {
  0: "Not Supported",
  1: "Range A",
  2: "Range B",
  3: "Range AB",
  6: "Range BC",
  7: "Range ABC",
  14: "Range BCD",
  15: "Range ABCD",
};
const TIMEOUT_VALUES: Readonly<Record<number, string>> = {
  0: "50us to 50ms",
  1: "50us to 100us",
  2: "1ms to 10ms",
  5: "16ms to 55ms",
  6: "65ms to 210ms",
  9: "260ms to 900ms",
  10: "1s to 3.5s",
  13: "4s to 13s",
  14: "17s to 64s",
};
const OBFF_SUPPORT = ["Not Supported", "Via message", "Via WAKE#", "Via message/WAKE#"];
const OBFF_ENABLED = ["Disabled", "Via message A", "Via message B", "Via WAKE#"];
const EMERGENCY_POWER = ["Not Supported", "Dev Specific", "Form Factor Dev Specific", "Reserved"];
/** Code 2 is reserved, and lspci prints nothing for it. */
const TPH_COMPLETER = ["TPHComp- ExtTPHComp-", "TPHComp+ ExtTPHComp-", "", "TPHComp+ ExtTPHComp+"];
/** By the highest bit of the supported speeds vector; every speed below is supported too. */
const SPEED_RANGES = ["2.5GT/s", "2.5-5GT/s", "2.5-8GT/s", "2.5-16GT/s", "2.5-32GT/s", "2.5-64GT/s", "RsvdP"];
const TARGET_SPEEDS = ["2.5GT/s", "2.5GT/s", "5GT/s", "8GT/s", "16GT/s", "32GT/s", "64GT/s"];
const MARGINS = [
  "Normal Operating Range",
  "800-1200mV(full-swing)/400-700mV(half-swing)",
  ...new Array<string>(4).fill("200-400mV(full-swing)/100-200mV(half-swing)"),
];
const PRESETS = [
  "-6dB de-emphasis, 0dB preshoot",
  "-3.5dB de-emphasis, 0dB preshoot",
  "-4.4dB de-emphasis, 0dB preshoot",
  "-2.5dB de-emphasis, 0dB preshoot",
  "0dB de-emphasis, 0dB preshoot",
  "0dB de-emphasis, 1.9dB preshoot",
  "0dB de-emphasis, 2.5dB preshoot",
  "-6.0dB de-emphasis, 3.5dB preshoot",
  "-3.5dB de-emphasis, 3.5dB preshoot",
  "0dB de-emphasis, 3.5dB preshoot",
];
const CROSSLINK = ["unsupported", "Upstream Port", "Downstream Port", "incomplete"];

/** The device or port type. */
export function typeOf(reader: RegisterReader): number {
  return bits(PciExpFlags.TYPE)(reader.u16(PciExp.FLAGS));
}

function isVersion2(reader: RegisterReader): boolean {
  return bits(PciExpFlags.VERS)(reader.u16(PciExp.FLAGS)) >= 2;
}

function isEndpoint(reader: RegisterReader): boolean {
  const { ENDPOINT, LEG_END, RC_END } = PciExpType;
  return typeOf(reader) === ENDPOINT || typeOf(reader) === LEG_END || typeOf(reader) === RC_END;
}

/** Functions inside the root complex have none. */
export function hasLink(reader: RegisterReader): boolean {
  return typeOf(reader) !== PciExpType.RC_END && typeOf(reader) !== ROOT_EVENT_COLLECTOR;
}

function hasLink2(reader: RegisterReader): boolean {
  return isVersion2(reader) && hasLink(reader);
}

function ofMemoryBar(mask: number) {
  return (value: number, reader: RegisterReader): boolean | undefined =>
    reader.hasMemoryBar ? (value & mask) !== 0 : undefined;
}

export const EXPRESS_2: readonly RegisterSpec[] = [
  {
    name: "DevCap2",
    offset: PciExp.DEVCAP2,
    size: 4,
    fields: {
      "Completion Timeout": (value) => TIMEOUT_RANGES[bits(DEVCAP2.TIMEOUT_RANGES)(value)] ?? "Unknown",
      TimeoutDis: DEVCAP2.TIMEOUT_DISABLE,
      NROPrPrP: DEVCAP2.NO_RO_PR_PR,
      LTR: DEVCAP2.LTR,
      "10BitTagComp": DEVCAP2.TAG_10BIT_COMPLETER,
      "10BitTagReq": DEVCAP2.TAG_10BIT_REQUESTER,
      OBFF: (value) => OBFF_SUPPORT[bits(DEVCAP2.OBFF)(value)]!,
      ExtFmt: DEVCAP2.EXT_FMT,
      EETLPPrefix: DEVCAP2.EETLP_PREFIX,
      MaxEETLPPrefixes: (value) =>
        (value & DEVCAP2.EETLP_PREFIX) === 0 ? undefined : bits(DEVCAP2.MAX_EETLP_PREFIXES)(value) || 4,
      EmergencyPowerReduction: (value) => EMERGENCY_POWER[bits(DEVCAP2.EMERGENCY_POWER)(value)]!,
      EmergencyPowerReductionInit: DEVCAP2.EMERGENCY_POWER_INIT,
      FRS: DEVCAP2.FRS,
      TPH: (value, reader) =>
        typeOf(reader) === PciExpType.ENDPOINT ? TPH_COMPLETER[bits(DEVCAP2.TPH)(value)]! : undefined,
      "32bit": ofMemoryBar(DEVCAP2.ATOMIC_32),
      "64bit": ofMemoryBar(DEVCAP2.ATOMIC_64),
      "128bitCAS": ofMemoryBar(DEVCAP2.ATOMIC_128),
    },
    lines: [
      "DevCap2: Completion Timeout: {Completion Timeout}, {TimeoutDis} {NROPrPrP} {LTR}",
      "\t {10BitTagComp} {10BitTagReq} OBFF {OBFF}, {ExtFmt} {EETLPPrefix}[, MaxEETLPPrefixes {MaxEETLPPrefixes}]",
      "\t EmergencyPowerReduction {EmergencyPowerReduction}, {EmergencyPowerReductionInit}",
      "\t {FRS}[ {TPH}]",
      "[\t AtomicOpsCap: {32bit} {64bit} {128bitCAS}]",
    ],
    exists: isVersion2,
  },
  {
    name: "DevCtl2",
    offset: PciExp.DEVCTL2,
    size: 2,
    fields: {
      "Completion Timeout": (value) => TIMEOUT_VALUES[bits(DEVCTL2.TIMEOUT_VALUE)(value)] ?? "Unknown",
      TimeoutDis: DEVCTL2.TIMEOUT_DISABLE,
      ReqEn: (value, reader) => (isEndpoint(reader) ? (value & DEVCTL2.ATOMIC_REQUESTER) !== 0 : undefined),
      IDOReq: DEVCTL2.IDO_REQUEST,
      IDOCompl: DEVCTL2.IDO_COMPLETION,
      LTR: DEVCTL2.LTR,
      EmergencyPowerReductionReq: DEVCTL2.EMERGENCY_POWER,
      "10BitTagReq": DEVCTL2.TAG_10BIT_REQUESTER,
      OBFF: (value) => OBFF_ENABLED[bits(DEVCTL2.OBFF)(value)]!,
      EETLPPrefixBlk: DEVCTL2.EETLP_PREFIX_BLOCK,
    },
    lines: [
      "DevCtl2: Completion Timeout: {Completion Timeout}, {TimeoutDis}",
      "[\t AtomicOpsCtl: {ReqEn}]",
      "\t {IDOReq} {IDOCompl} {LTR} {EmergencyPowerReductionReq}",
      "\t {10BitTagReq} OBFF {OBFF}, {EETLPPrefixBlk}",
    ],
    exists: isVersion2,
  },
  {
    name: "LnkCap2",
    offset: PciExp.LNKCAP2,
    size: 4,
    fields: {
      Speeds: (value) => SPEED_RANGES[31 - Math.clz32(bits(LNKCAP2.SPEEDS)(value))] ?? "Unknown",
      Crosslink: LNKCAP2.CROSSLINK,
      Retimer: LNKCAP2.RETIMER,
      "2Retimers": LNKCAP2.TWO_RETIMERS,
      DRS: LNKCAP2.DRS,
    },
    lines: ["LnkCap2: Supported Link Speeds: {Speeds}, {Crosslink} {Retimer} {2Retimers} {DRS}"],
    // Reserved, and so 0, before PCIe 3.0.
    exists: (reader) => hasLink2(reader) && reader.u32(PciExp.LNKCAP2) !== 0,
  },
  {
    name: "LnkCtl2",
    offset: PciExp.LNKCTL2,
    size: 2,
    fields: {
      Speed: (value) => TARGET_SPEEDS[bits(LNKCTL2.SPEED)(value)] ?? "Unknown",
      EnterCompliance: LNKCTL2.ENTER_COMPLIANCE,
      SpeedDis: LNKCTL2.SPEED_DISABLE,
      "Transmit Margin": (value) => MARGINS[bits(LNKCTL2.MARGIN)(value)] ?? "Unknown",
      EnterModifiedCompliance: LNKCTL2.MODIFIED_COMPLIANCE,
      ComplianceSOS: LNKCTL2.COMPLIANCE_SOS,
      Preset: (value) => PRESETS[bits(LNKCTL2.PRESET)(value)] ?? "Unknown",
    },
    lines: [
      "LnkCtl2: Target Link Speed: {Speed}, {EnterCompliance} {SpeedDis}",
      "\t Transmit Margin: {Transmit Margin}, {EnterModifiedCompliance} {ComplianceSOS}",
      "\t Compliance Preset/De-emphasis: {Preset}",
    ],
    exists: hasLink2,
  },
  {
    name: "LnkSta2",
    offset: PciExp.LNKSTA2,
    size: 2,
    fields: {
      "De-emphasis": (value) => ((value & LNKSTA2.DE_EMPHASIS) === 0 ? "-6dB" : "-3.5dB"),
      EqualizationComplete: LNKSTA2.EQ_COMPLETE,
      EqualizationPhase1: LNKSTA2.EQ_PHASE1,
      EqualizationPhase2: LNKSTA2.EQ_PHASE2,
      EqualizationPhase3: LNKSTA2.EQ_PHASE3,
      LinkEqualizationRequest: LNKSTA2.EQ_REQUEST,
      Retimer: LNKSTA2.RETIMER,
      "2Retimers": LNKSTA2.TWO_RETIMERS,
      CrosslinkRes: (value) => CROSSLINK[bits(LNKSTA2.CROSSLINK)(value)]!,
    },
    lines: [
      "LnkSta2: Current De-emphasis Level: {De-emphasis}, {EqualizationComplete} {EqualizationPhase1}",
      "\t {EqualizationPhase2} {EqualizationPhase3} {LinkEqualizationRequest}",
      "\t {Retimer} {2Retimers} CrosslinkRes: {CrosslinkRes}",
    ],
    exists: hasLink2,
  },
];
