import {
  CONFIG_SPACE_SIZE,
  PciCap,
  PciCapId,
  PciExtCapHeader,
  PciHeader,
  PciStatus,
  STD_HEADER_SIZEOF,
} from "../registers.js";
import { describeCapability, type CapabilityDescription } from "./capability.js";
import { hex, RegisterReader } from "./register.js";

/** What a hostile or broken list looks like to lspci. */
const LOOPED = "<chain looped>";
const BROKEN = "<chain broken>";

export interface ChainDescription {
  readonly capabilities: readonly CapabilityDescription[];
  /** What is wrong with the list, in words. */
  readonly problems: readonly string[];
}

/**
 * Follows both lists of capabilities. It ends for any bytes: no capability is visited twice, and none outside the
 * space that its list may use.
 */
export function describeChains(bytes: Uint8Array, hasMemoryBar: boolean): ChainDescription {
  const capabilities: CapabilityDescription[] = [];
  const problems: string[] = [];
  const at = (offset: number): RegisterReader => new RegisterReader(bytes, offset, hasMemoryBar);
  followStandard(at, capabilities, problems);
  // PCIe 6.0 §7.6: extended capabilities are for functions with the PCI Express capability.
  const isExpress = capabilities.some((cap) => cap.id === PciCapId.EXP && cap.registers.length > 0);
  if (isExpress) followExtended(at, bytes.length, capabilities, problems);
  return { capabilities, problems };
}

function followStandard(
  at: (offset: number) => RegisterReader,
  capabilities: CapabilityDescription[],
  problems: string[],
): void {
  const header = at(0);
  if ((header.u16(PciHeader.STATUS) & PciStatus.CAP_LIST) === 0) return;
  const seen = new Set<number>();
  let source: number = PciHeader.CAPABILITY_LIST;
  let pointer = header.u8(PciHeader.CAPABILITY_LIST);
  // PCI 3.0 §6.7: software masks the two low bits, which are reserved.
  for (let offset = pointer & ~3; offset !== 0; offset = pointer & ~3) {
    const where = `capability pointer 0x${hex(pointer, 2)} at 0x${hex(source, 2)}`;
    if (offset !== pointer) problems.push(`${where}: its two low bits are reserved`);
    if (offset < STD_HEADER_SIZEOF || !at(offset).has(0, 4)) {
      problems.push(`${where}: outside of the space for capabilities`);
      return;
    }
    const reader = at(offset);
    const id = reader.u8(PciCap.ID);
    if (seen.has(offset) || id === 0xff) {
      problems.push(seen.has(offset) ? `${where}: the list loops` : `${where}: nothing answers there`);
      const name = seen.has(offset) ? LOOPED : BROKEN;
      capabilities.push({ offset, id, extended: false, name, fields: {}, registers: [] });
      return;
    }
    seen.add(offset);
    capabilities.push(describeCapability(reader, id, undefined));
    source = offset + PciCap.NEXT;
    pointer = reader.u8(PciCap.NEXT);
  }
}

function followExtended(
  at: (offset: number) => RegisterReader,
  end: number,
  capabilities: CapabilityDescription[],
  problems: string[],
): void {
  const seen = new Set<number>();
  let source = 0;
  let pointer = CONFIG_SPACE_SIZE;
  for (let offset = pointer; offset !== 0 && end > CONFIG_SPACE_SIZE; offset = pointer & ~3) {
    const where = `extended capability pointer 0x${hex(pointer, 3)} at 0x${hex(source, 3)}`;
    if (offset !== pointer) problems.push(`${where}: its two low bits are reserved`);
    if (offset < CONFIG_SPACE_SIZE || !at(offset).has(0, 4)) {
      problems.push(`${where}: outside of the space for extended capabilities`);
      return;
    }
    const header = at(offset).u32(0);
    if (header === 0 || header === 0xffffffff) return;
    const id = header & PciExtCapHeader.ID;
    const version = (header >>> PciExtCapHeader.VERSION_SHIFT) & 0xf;
    if (seen.has(offset)) {
      problems.push(`${where}: the list loops`);
      capabilities.push({ offset, id, extended: true, version, name: LOOPED, fields: {}, registers: [] });
      return;
    }
    seen.add(offset);
    capabilities.push(describeCapability(at(offset), id, version));
    source = offset;
    pointer = header >>> PciExtCapHeader.NEXT_SHIFT;
  }
}
