import { NUM_BARS, PciBar, PciCommand, PciHeader, PciRom, PciStatus } from "../registers.js";
import { bits, hex, type RegisterReader, type RegisterSpec } from "./register.js";

const DEVSEL = ["fast", "medium", "slow", "??"];

export const CONTROL: RegisterSpec = {
  name: "Control",
  offset: PciHeader.COMMAND,
  size: 2,
  fields: {
    "I/O": PciCommand.IO,
    Mem: PciCommand.MEMORY,
    BusMaster: PciCommand.MASTER,
    SpecCycle: PciCommand.SPECIAL,
    MemWINV: PciCommand.INVALIDATE,
    VGASnoop: PciCommand.VGA_PALETTE,
    ParErr: PciCommand.PARITY,
    Stepping: PciCommand.WAIT,
    SERR: PciCommand.SERR,
    FastB2B: PciCommand.FAST_BACK,
    DisINTx: PciCommand.INTX_DISABLE,
  },
  lines: [
    "Control: {I/O} {Mem} {BusMaster} {SpecCycle} {MemWINV} {VGASnoop} {ParErr} {Stepping} {SERR} {FastB2B} {DisINTx}",
  ],
};

/** ">" marks what the function signalled, "<" what it received. */
export const STATUS: RegisterSpec = {
  name: "Status",
  offset: PciHeader.STATUS,
  size: 2,
  fields: {
    Cap: PciStatus.CAP_LIST,
    "66MHz": PciStatus["66MHZ"],
    UDF: PciStatus.UDF,
    FastB2B: PciStatus.FAST_BACK,
    ParErr: PciStatus.PARITY,
    DEVSEL: (value) => DEVSEL[bits(PciStatus.DEVSEL_MASK)(value)]!,
    ">TAbort": PciStatus.SIG_TARGET_ABORT,
    "<TAbort": PciStatus.REC_TARGET_ABORT,
    "<MAbort": PciStatus.REC_MASTER_ABORT,
    ">SERR": PciStatus.SIG_SYSTEM_ERROR,
    "<PERR": PciStatus.DETECTED_PARITY,
    INTx: PciStatus.INTERRUPT,
  },
  lines: [
    "Status: {Cap} {66MHz} {UDF} {FastB2B} {ParErr} DEVSEL={DEVSEL} {>TAbort} {<TAbort} {<MAbort} {>SERR} {<PERR} {INTx}",
  ],
};

/** A BAR as configuration space shows it. */
export interface BarDescription {
  /** BAR number. */
  readonly index: number;
  readonly space: "io" | "memory";
  /** Of memory BARs: "32-bit", "64-bit", or one of the types that PCI no longer uses. */
  readonly type?: string;
  readonly prefetchable?: boolean;
  /** Hexadecimal; undefined while software has not assigned one, and for a 64-bit BAR without its upper half. */
  readonly address?: string;
  /** The command register lets it respond. */
  readonly enabled: boolean;
  /** Bytes, where known. */
  readonly size?: number;
}

/** The expansion ROM as configuration space shows it. */
export interface RomDescription {
  readonly address?: string;
  /** The register's own enable bit. */
  readonly enabled: boolean;
  /** The command register's memory enable, which it needs as well. */
  readonly memoryEnabled: boolean;
  readonly size?: number;
}

const MEMORY_TYPES = ["32-bit", "low-1M", "64-bit", "type 3"];

/** The BARs that a function shows, by their registers or by the sizes that are known of them. */
export function describeBars(reader: RegisterReader, sizes: readonly number[]): BarDescription[] {
  const bars: BarDescription[] = [];
  for (let index = 0; index < NUM_BARS; index++) {
    const register = PciHeader.BASE_ADDRESS_0 + 4 * index;
    const low = present(reader.u32(register));
    const size = sizes[index] ?? 0;
    if (low === 0 && size === 0) continue;
    const isWide = (low & PciBar.SPACE_IO) === 0 && (low & PciBar.MEM_TYPE_MASK) === PciBar.MEM_TYPE_64;
    // The upper half of a 64-bit BAR in the last register would be something else.
    const isWhole = !isWide || index < NUM_BARS - 1;
    const address = isWhole ? low : low & ~PciBar.MEM_MASK;
    const high = isWide && isWhole ? reader.u32(register + 4) : 0;
    bars.push(describeBar(index, address, high, size, reader.u16(PciHeader.COMMAND)));
    if (isWide) index++;
  }
  return bars;
}

export function describeRom(reader: RegisterReader, size: number): RomDescription | undefined {
  const register = reader.u32(PciHeader.ROM_ADDRESS);
  if (register === 0 && size === 0) return undefined;
  const address = (present(register) & PciRom.MASK) >>> 0;
  return {
    ...(address === 0 ? {} : { address: hex(address, 8) }),
    enabled: (register & PciRom.ENABLE) !== 0,
    memoryEnabled: (reader.u16(PciHeader.COMMAND) & PciCommand.MEMORY) !== 0,
    ...(size === 0 ? {} : { size }),
  };
}

function describeBar(
  index: number,
  low: number,
  high: number,
  size: number,
  command: number,
): BarDescription {
  const known = size === 0 ? {} : { size };
  if ((low & PciBar.SPACE_IO) !== 0) {
    const enabled = (command & PciCommand.IO) !== 0;
    const address = (low & PciBar.IO_MASK) >>> 0;
    // 0 is an address in I/O space, where it is switched on.
    const assigned = address !== 0 || enabled ? { address: hex(address, 4) } : {};
    return { index, space: "io", ...assigned, enabled, ...known };
  }
  const address = (BigInt(high) << 32n) | BigInt((low & PciBar.MEM_MASK) >>> 0);
  return {
    index,
    space: "memory",
    type: MEMORY_TYPES[bits(PciBar.MEM_TYPE_MASK)(low)]!,
    prefetchable: (low & PciBar.MEM_PREFETCH) !== 0,
    ...(address === 0n ? {} : { address: address.toString(16).padStart(8, "0") }),
    enabled: (command & PciCommand.MEMORY) !== 0,
    ...known,
  };
}

/** All ones is what a register reads as that nobody answers for. */
function present(register: number): number {
  return register === 0xffffffff ? 0 : register;
}

export function formatBar(bar: BarDescription): string {
  const disabled = bar.enabled ? "" : " [disabled]";
  const address = bar.address ?? "<unassigned>";
  const what =
    bar.space === "io"
      ? `I/O ports at ${address}`
      : `Memory at ${address} (${bar.type}, ${bar.prefetchable === true ? "" : "non-"}prefetchable)`;
  return `\tRegion ${bar.index}: ${what}${disabled}${formatSize(bar.size)}`;
}

export function formatRom(rom: RomDescription): string {
  const state = rom.enabled ? (rom.memoryEnabled ? "" : " [disabled by cmd]") : " [disabled]";
  return `\tExpansion ROM at ${rom.address ?? "<unassigned>"}${state}${formatSize(rom.size)}`;
}

function formatSize(size: number | undefined): string {
  if (size === undefined) return "";
  const units = ["", "K", "M", "G", "T"];
  const unit = Math.min(Math.floor(Math.log2(size) / 10), units.length - 1);
  return ` [size=${Math.floor(size / 2 ** (10 * unit))}${units[unit]}]`;
}
