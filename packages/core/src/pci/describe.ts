import { VfioError } from "../errno.js";
import { formatCapability, type CapabilityDescription } from "./describe/capability.js";
import { describeChains } from "./describe/chain.js";
import {
  CONTROL,
  describeBars,
  describeRom,
  formatBar,
  formatRom,
  STATUS,
  type BarDescription,
  type RomDescription,
} from "./describe/header.js";
import {
  decodeRegister,
  formatRegister,
  hex,
  RegisterReader,
  type RegisterDescription,
} from "./describe/register.js";
import { CONFIG_SPACE_SIZE, NUM_BARS, PciHeader, PciHeaderType } from "./registers.js";

export type { CapabilityDescription } from "./describe/capability.js";
export type { BarDescription, RomDescription } from "./describe/header.js";
export type { FieldValue, RegisterDescription } from "./describe/register.js";

/** A function's configuration space, decoded: plain data, ready for JSON. */
export interface ConfigDescription {
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
  /** Base class and subclass. */
  readonly class: number;
  readonly progIf: number;
  readonly revision: number;
  /** 0 for endpoints; of other types only the header's common part is decoded. */
  readonly headerType: number;
  readonly multifunction: boolean;
  readonly control: RegisterDescription;
  readonly status: RegisterDescription;
  readonly bist: number;
  readonly latencyTimer: number;
  /** Bytes. */
  readonly cacheLineSize: number;
  readonly minGnt: number;
  readonly maxLat: number;
  /** 1 for INTA to 4 for INTD, 0 for none. */
  readonly interruptPin: number;
  readonly interruptLine: number;
  readonly bars: readonly BarDescription[];
  readonly rom?: RomDescription;
  readonly capabilities: readonly CapabilityDescription[];
  /** What contradicts the specification, in words; empty for a sound function. */
  readonly problems: readonly string[];
}

/**
 * Decodes the configuration space of any function. The bytes are not trusted.
 * @param bytes 256 or 4096 of them
 * @param sizes bytes of each BAR, and of the ROM as element 6, where they are known: VFIO regions 0 to 6
 * @throws VfioError EINVAL for fewer than 256 bytes
 */
export function describeConfig(bytes: Uint8Array, sizes: readonly number[] = []): ConfigDescription {
  if (bytes.length < CONFIG_SPACE_SIZE) {
    throw new VfioError(
      "EINVAL",
      `configuration space: ${bytes.length} bytes; it has ${CONFIG_SPACE_SIZE} at least`,
    );
  }
  const reader = new RegisterReader(bytes, 0, false);
  const header = describeHeader(reader);
  const problems: string[] = [];
  if (header.interruptPin > 4)
    problems.push(`interrupt pin ${header.interruptPin}: there are INTA (1) to INTD (4)`);
  if (header.headerType !== PciHeaderType.NORMAL) {
    problems.push(`header type ${header.headerType}: only type 0 is decoded`);
    return { ...header, bars: [], capabilities: [], problems };
  }
  const bars = describeBars(reader, sizes);
  if (bars.some((bar) => bar.index === NUM_BARS - 1 && bar.type === "64-bit")) {
    problems.push("BAR 5: 64-bit, without a register for its upper half");
  }
  const rom = describeRom(reader, sizes[6] ?? 0);
  const hasMemoryBar = bars.some((bar) => bar.space === "memory");
  const chains = describeChains(bytes, hasMemoryBar);
  return {
    ...header,
    bars,
    ...(rom === undefined ? {} : { rom }),
    capabilities: chains.capabilities,
    problems: [...problems, ...chains.problems],
  };
}

function describeHeader(
  reader: RegisterReader,
): Omit<ConfigDescription, "bars" | "capabilities" | "problems"> {
  const headerType = reader.u8(PciHeader.HEADER_TYPE);
  return {
    vendor: reader.u16(PciHeader.VENDOR_ID),
    device: reader.u16(PciHeader.DEVICE_ID),
    subsystemVendor: reader.u16(PciHeader.SUBSYSTEM_VENDOR_ID),
    subsystem: reader.u16(PciHeader.SUBSYSTEM_ID),
    class: reader.u16(PciHeader.CLASS_DEVICE),
    progIf: reader.u8(PciHeader.CLASS_PROG),
    revision: reader.u8(PciHeader.REVISION_ID),
    headerType: headerType & PciHeaderType.MASK,
    multifunction: (headerType & PciHeaderType.MULTIFUNCTION) !== 0,
    control: decodeRegister(CONTROL, reader)!,
    status: decodeRegister(STATUS, reader)!,
    bist: reader.u8(PciHeader.BIST),
    latencyTimer: reader.u8(PciHeader.LATENCY_TIMER),
    cacheLineSize: reader.u8(PciHeader.CACHE_LINE_SIZE) * 4,
    minGnt: reader.u8(PciHeader.MIN_GNT),
    maxLat: reader.u8(PciHeader.MAX_LAT),
    interruptPin: reader.u8(PciHeader.INTERRUPT_PIN),
    interruptLine: reader.u8(PciHeader.INTERRUPT_LINE),
  };
}

/**
 * Prints a description as `lspci -n -vv` does, line by line, problems last.
 * @param slot where the function is, such as "00:03.0": lspci shows it first, and for endpoints anywhere but at
 * device 0, function 0 it leaves out the registers of the link that only function 0 has
 */
export function formatDescription(description: ConfigDescription, slot?: string): string[] {
  const d = description;
  const hidden = slot === undefined || slot.endsWith("00.0") ? [] : linkRegistersOfFunction0(d);
  return [
    (slot === undefined ? "" : `${slot} `) + formatIdentity(d),
    ...formatHeader(d).map((line) => `\t${line}`),
    ...d.bars.map(formatBar),
    ...(d.rom === undefined ? [] : [formatRom(d.rom)]),
    ...d.capabilities.flatMap((capability) => formatCapability(capability, hidden)),
    ...d.problems.map((problem) => `\t!!! ${problem}`),
  ];
}

function linkRegistersOfFunction0(d: ConfigDescription): string[] {
  const type = d.capabilities.find((cap) => cap.name === "Express")?.fields["Type"];
  return type === "Endpoint" || type === "Legacy Endpoint" ? ["LnkCap2", "LnkCtl2"] : [];
}

function formatIdentity(d: ConfigDescription): string {
  const revision = d.revision === 0 ? "" : ` (rev ${hex(d.revision, 2)})`;
  const progIf = d.progIf === 0 ? "" : ` (prog-if ${hex(d.progIf, 2)})`;
  return `${hex(d.class, 4)}: ${hex(d.vendor, 4)}:${hex(d.device, 4)}${revision}${progIf}`;
}

const NO_SUBSYSTEM = [0, 0xffff];
const BIST = { CODE_MASK: 0x0f, START: 0x40, CAPABLE: 0x80 } as const;

function formatHeader(d: ConfigDescription): string[] {
  const lines: string[] = [];
  if (d.headerType === PciHeaderType.NORMAL && !NO_SUBSYSTEM.includes(d.subsystemVendor)) {
    lines.push(`Subsystem: ${hex(d.subsystemVendor, 4)}:${hex(d.subsystem, 4)}`);
  }
  lines.push(...formatRegister(CONTROL, d.control), ...formatRegister(STATUS, d.status));
  if (d.control.fields["BusMaster"] === true) lines.push(formatLatency(d));
  if (d.interruptPin !== 0 || d.interruptLine !== 0) {
    const pin = "?ABCD"[d.interruptPin] ?? "?";
    lines.push(`Interrupt: pin ${pin} routed to IRQ ${d.interruptLine}`);
  }
  if ((d.bist & BIST.CAPABLE) !== 0) {
    const result = `BIST result: ${hex(d.bist & BIST.CODE_MASK, 2)}`;
    lines.push((d.bist & BIST.START) === 0 ? result : "BIST is running");
  }
  return lines;
}

/** PCI 3.0 §6.2.4: MIN_GNT and MAX_LAT count quarters of a microsecond. */
function formatLatency(d: ConfigDescription): string {
  const grants = [
    ...(d.minGnt === 0 ? [] : [`${d.minGnt * 250}ns min`]),
    ...(d.maxLat === 0 ? [] : [`${d.maxLat * 250}ns max`]),
  ];
  const grant = grants.length === 0 ? "" : ` (${grants.join(", ")})`;
  const cacheLine = d.cacheLineSize === 0 ? "" : `, Cache Line Size: ${d.cacheLineSize} bytes`;
  return `Latency: ${d.latencyTimer}${grant}${cacheLine}`;
}
