import { VfioError } from "../errno.js";
import {
  layoutBars,
  layoutRom,
  writeBars,
  writeRom,
  type Bar,
  type BarDeclaration,
  type Rom,
} from "./bars.js";
import {
  writeCapability,
  type CapabilityDeclaration,
  type ExtendedCapability,
  type StandardCapability,
} from "./capabilities/index.js";
import { msixPbaSize, msixTableSize, type BarLocation, type MsixCapability } from "./capabilities/msix.js";
import { ConfigEffect, ConfigSpace } from "./config-space.js";
import { ConfigLayout, type FieldWriter } from "./layout.js";
import {
  CONFIG_SPACE_EXP_SIZE,
  CONFIG_SPACE_SIZE,
  PciCap,
  PciCommand,
  PciExtCapHeader,
  PciHeader,
  PciHeaderType,
  PciStatus,
  STD_HEADER_SIZEOF,
} from "./registers.js";

/** What a function looks like to software. */
export interface ConfigDefinition {
  readonly id: {
    readonly vendor: number;
    readonly device: number;
    /** Default: the vendor and device themselves. */
    readonly subsystemVendor?: number;
    readonly subsystem?: number;
    /** 24 bits: base class, subclass, programming interface, such as 0x070002. */
    readonly classCode: number;
    readonly revision?: number;
  };
  readonly bars?: readonly BarDeclaration[];
  /** Contents of the expansion ROM. */
  readonly rom?: Uint8Array;
  /** The INTx pin that the function uses. */
  readonly interruptPin?: "A" | "B" | "C" | "D";
  /** In the order of the chains that they make. */
  readonly capabilities?: readonly CapabilityDeclaration[];
  /** This is a function of a device that has others. */
  readonly multifunction?: boolean;
}

/** A capability in its place. */
export type Placed<C extends CapabilityDeclaration> = C & { readonly offset: number };

type ByKind<K extends CapabilityDeclaration["kind"]> = Placed<Extract<CapabilityDeclaration, { kind: K }>>;

/** The capabilities that a function has, by kind. */
export type Capabilities = {
  readonly [K in Exclude<CapabilityDeclaration["kind"], "vendorSpecific">]?: ByKind<K>;
} & { readonly vendorSpecific: readonly ByKind<"vendorSpecific">[] };

/** Configuration space made from a declaration, and where things are in it. */
export interface BuiltConfig {
  readonly config: ConfigSpace;
  /** One element a base address register; undefined where no BAR starts. */
  readonly bars: readonly (Bar | undefined)[];
  readonly rom: Rom | undefined;
  readonly capabilities: Capabilities;
}

/**
 * Lays out configuration space: header, BARs, ROM, and both chains of capabilities.
 * @throws VfioError EINVAL naming the BAR, the capability or the field, and the rule that it breaks
 */
export function buildConfigSpace(definition: ConfigDefinition): BuiltConfig {
  const declared = definition.capabilities ?? [];
  const bars = layoutBars(definition.bars ?? []);
  const rom = definition.rom === undefined ? undefined : layoutRom(definition.rom);
  checkCapabilities(declared, bars);

  const isExpress = declared.some((cap) => cap.kind === "express");
  const layout = new ConfigLayout(isExpress ? CONFIG_SPACE_EXP_SIZE : CONFIG_SPACE_SIZE);
  const header = layout.at(0);
  writeHeader(header, definition, bars, rom !== undefined, isExpress);
  writeBars(header, bars);
  if (rom !== undefined) writeRom(header, rom);
  const placed = [
    ...writeChain(layout, declared.filter(isStandard)),
    ...writeExtendedChain(layout, declared.filter(isExtended)),
  ];
  return { config: new ConfigSpace(layout), bars, rom, capabilities: byKind(placed) };
}

function writeHeader(
  header: FieldWriter,
  definition: ConfigDefinition,
  bars: readonly (Bar | undefined)[],
  hasRom: boolean,
  isExpress: boolean,
): void {
  const { id } = definition;
  header.u16(PciHeader.VENDOR_ID, field("vendor", id.vendor, 16));
  header.u16(PciHeader.DEVICE_ID, field("device", id.device, 16));
  header.u8(PciHeader.REVISION_ID, field("revision", id.revision ?? 0, 8));
  const classCode = field("classCode", id.classCode, 24);
  header.u8(PciHeader.CLASS_PROG, classCode);
  header.u16(PciHeader.CLASS_DEVICE, classCode >> 8);
  header.u16(PciHeader.SUBSYSTEM_VENDOR_ID, field("subsystemVendor", id.subsystemVendor ?? id.vendor, 16));
  header.u16(PciHeader.SUBSYSTEM_ID, field("subsystem", id.subsystem ?? id.device, 16));
  header.u8(PciHeader.HEADER_TYPE, definition.multifunction === true ? PciHeaderType.MULTIFUNCTION : 0);

  // PCI 3.0 §6.2.2: a function without I/O, or without memory, space does not have the bit that enables it.
  const hasIo = bars.some((bar) => bar?.declaration.kind === "io");
  const hasMemory = hasRom || bars.some((bar) => bar !== undefined && bar.declaration.kind !== "io");
  let command = PciCommand.MASTER | PciCommand.PARITY | PciCommand.SERR;
  const decode = PciCommand.MASTER | (hasIo ? PciCommand.IO : 0) | (hasMemory ? PciCommand.MEMORY : 0);
  command |= decode;
  if (definition.interruptPin !== undefined) command |= PciCommand.INTX_DISABLE;
  header.u16(PciHeader.COMMAND, 0, { rw: command });
  header.watch(PciHeader.COMMAND, decode, ConfigEffect.COMMAND);
  header.watch(PciHeader.COMMAND, PciCommand.INTX_DISABLE, ConfigEffect.INTX_DISABLE);
  header.u16(PciHeader.STATUS, (definition.capabilities ?? []).some(isStandard) ? PciStatus.CAP_LIST : 0, {
    w1c:
      PciStatus.PARITY |
      PciStatus.SIG_TARGET_ABORT |
      PciStatus.REC_TARGET_ABORT |
      PciStatus.REC_MASTER_ABORT |
      PciStatus.SIG_SYSTEM_ERROR |
      PciStatus.DETECTED_PARITY,
  });

  // Kept for software that looks at it; PCIe 6.0 §7.5.1.1: the latency timer does not apply to PCI Express.
  header.u8(PciHeader.CACHE_LINE_SIZE, 0, { rw: 0xff });
  if (!isExpress) header.u8(PciHeader.LATENCY_TIMER, 0, { rw: 0xf8 });
  header.u8(PciHeader.INTERRUPT_LINE, 0, { rw: 0xff });
  if (definition.interruptPin !== undefined) {
    header.u8(PciHeader.INTERRUPT_PIN, 1 + "ABCD".indexOf(definition.interruptPin));
  }
}

/** Links capabilities from 0x40 on, each at a multiple of 4. PCI 3.0 §6.7 */
function writeChain(layout: ConfigLayout, caps: readonly StandardCapability[]): Placed<StandardCapability>[] {
  let offset = STD_HEADER_SIZEOF;
  let pointer: number = PciHeader.CAPABILITY_LIST;
  return caps.map((cap) => {
    checkRoom(cap, offset, CONFIG_SPACE_SIZE);
    const fields = layout.at(offset);
    fields.u8(PciCap.ID, cap.id);
    layout.at(0).u8(pointer, offset);
    writeCapability(fields, cap);
    const placed = { ...cap, offset };
    pointer = offset + PciCap.NEXT;
    offset = align4(offset + cap.size);
    return placed;
  });
}

/** Links extended capabilities, the first at 0x100. PCIe 6.0 §7.6.3 */
function writeExtendedChain(
  layout: ConfigLayout,
  caps: readonly ExtendedCapability[],
): Placed<ExtendedCapability>[] {
  let offset = CONFIG_SPACE_SIZE;
  return caps.map((cap, i) => {
    checkRoom(cap, offset, CONFIG_SPACE_EXP_SIZE);
    const end = align4(offset + cap.size);
    const next = i === caps.length - 1 ? 0 : end;
    const fields = layout.at(offset);
    fields.u32(
      0,
      cap.extendedId | (cap.version << PciExtCapHeader.VERSION_SHIFT) | (next << PciExtCapHeader.NEXT_SHIFT),
    );
    writeCapability(fields, cap);
    const placed = { ...cap, offset };
    offset = end;
    return placed;
  });
}

function byKind(placed: readonly Placed<CapabilityDeclaration>[]): Capabilities {
  const single = placed.filter((cap) => cap.kind !== "vendorSpecific");
  return {
    ...Object.fromEntries(single.map((cap) => [cap.kind, cap])),
    vendorSpecific: placed.filter((cap) => cap.kind === "vendorSpecific"),
  };
}

function checkCapabilities(caps: readonly CapabilityDeclaration[], bars: readonly (Bar | undefined)[]): void {
  const seen = new Set<string>();
  for (const cap of caps) {
    if (cap.kind !== "vendorSpecific" && seen.has(cap.kind)) {
      throw invalid(`capability ${cap.kind}: declared twice`);
    }
    seen.add(cap.kind);
    if (cap.kind === "msix") checkMsix(cap, bars);
  }
  for (const cap of caps.filter(isExtended)) {
    // PCIe 6.0 §7.6: without the PCI Express capability there is no space beyond 256 bytes.
    if (!seen.has("express")) throw invalid(`capability ${cap.kind}: needs the express capability`);
  }
}

function checkMsix(cap: MsixCapability, bars: readonly (Bar | undefined)[]): void {
  checkMsixPart("table", cap.table, msixTableSize(cap.vectors), bars);
  checkMsixPart("pending bits", cap.pba, msixPbaSize(cap.vectors), bars);
  const [first, second] =
    cap.table.offset < cap.pba.offset
      ? [{ ...cap.table, size: msixTableSize(cap.vectors) }, cap.pba]
      : [{ ...cap.pba, size: msixPbaSize(cap.vectors) }, cap.table];
  if (cap.table.bar === cap.pba.bar && first.offset + first.size > second.offset) {
    throw invalid(
      `MSI-X: the table at ${cap.table.offset} and the pending bits at ${cap.pba.offset} overlap`,
    );
  }
}

function checkMsixPart(
  name: string,
  place: BarLocation,
  size: number,
  bars: readonly (Bar | undefined)[],
): void {
  const what = `MSI-X ${name}: BAR ${place.bar}, offset ${place.offset}, ${size} bytes`;
  const bar = bars[place.bar]?.declaration;
  if (bar === undefined || bar.kind === "io") throw invalid(`${what}: there is no memory BAR of that number`);
  if (place.offset + size > bar.size) throw invalid(`${what}: leaves the BAR's ${bar.size} bytes`);
  const mapped =
    bar.kind === "memory" &&
    bar.mappable.some((area) => place.offset < area.offset + area.size && area.offset < place.offset + size);
  // A client that maps it would write vectors that nobody sees.
  if (mapped) throw invalid(`${what}: lies in a mappable area`);
}

function checkRoom(cap: CapabilityDeclaration, offset: number, end: number): void {
  if (offset + cap.size <= end) return;
  throw invalid(
    `capability ${cap.kind}: ${cap.size} bytes at 0x${offset.toString(16)} leave configuration space`,
  );
}

function isExtended(cap: CapabilityDeclaration): cap is ExtendedCapability {
  return "extendedId" in cap;
}

function isStandard(cap: CapabilityDeclaration): cap is StandardCapability {
  return !isExtended(cap);
}

function field(name: string, value: number, bits: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return value;
  throw invalid(`id.${name}: ${value} is not an unsigned number of ${bits} bits`);
}

function align4(offset: number): number {
  return (offset + 3) & ~3;
}

function invalid(message: string): VfioError {
  return new VfioError("EINVAL", message);
}
