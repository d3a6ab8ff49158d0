import type { IoEvent, MmapArea } from "../uapi.js";
import { VfioError } from "../errno.js";
import { ConfigEffect } from "./config-space.js";
import type { FieldWriter } from "./layout.js";
import { NUM_BARS, PciBar, PciHeader, PciMsixEntry, PciRom } from "./registers.js";

/** The smallest unit that a client can map. */
const PAGE_SIZE = 4096;
const MIN_MEMORY_BAR = 16;
const MIN_IO_BAR = 4;
/** PCI 3.0 §6.2.5.1: no more than 256 bytes of I/O space for each base address register. */
const MAX_IO_BAR = 256;
/** Sizes are JS numbers. */
const MAX_64BIT_BAR = 2 ** 52;
const MIN_ROM = 2048;
/** PCI 3.0 §6.2.5.2 */
const MAX_ROM = 16 * 1024 * 1024;

/** Registers in memory space: every access goes to the device's handler. */
export interface MmioBar {
  readonly kind: "mmio";
  /** Bytes, a power of two. */
  readonly size: number;
  readonly width: 32 | 64;
  readonly prefetchable: boolean;
  /** Writes that a client may turn into eventfds, such as doorbells. */
  readonly ioEvents: readonly IoEvent[];
  readonly slot: number | undefined;
}

/** Registers in I/O space. */
export interface IoBar {
  readonly kind: "io";
  readonly size: number;
  readonly ioEvents: readonly IoEvent[];
  readonly slot: number | undefined;
}

/** Memory of the device: bytes that it shares with the client, without a handler. */
export interface MemoryBar {
  readonly kind: "memory";
  readonly size: number;
  readonly width: 32 | 64;
  readonly prefetchable: boolean;
  /** What a client may map; empty: nothing. */
  readonly mappable: readonly MmapArea[];
  readonly slot: number | undefined;
}

/** What a BAR is: registers (`mmio`, `io`) or memory (`memory`). */
export type BarDeclaration = MmioBar | IoBar | MemoryBar;

interface Placement {
  /** BAR number, where it is not simply the next free one. */
  readonly slot?: number;
}

/** A BAR of registers in memory space. `size` in bytes, a power of two, 16 at least; 32 bits wide by default. */
export function mmio(
  options: Placement & {
    readonly size: number;
    readonly width?: 32 | 64;
    readonly prefetchable?: boolean;
    readonly ioEvents?: readonly IoEvent[];
  },
): MmioBar {
  const { size, width = 32, prefetchable = false, ioEvents = [], slot } = options;
  return { kind: "mmio", size, width, prefetchable, ioEvents, slot };
}

/** A BAR of registers in I/O space: 4 to 256 bytes, a power of two. */
export function io(
  options: Placement & { readonly size: number; readonly ioEvents?: readonly IoEvent[] },
): IoBar {
  const { size, ioEvents = [], slot } = options;
  return { kind: "io", size, ioEvents, slot };
}

/**
 * A BAR of plain memory, 64 bits wide and prefetchable by default. The client may map all of it, or only the
 * page-aligned areas in `mappable`; a BAR of less than a page cannot be mapped.
 */
export function memory(
  options: Placement & {
    readonly size: number;
    readonly width?: 32 | 64;
    readonly prefetchable?: boolean;
    readonly mappable?: readonly MmapArea[];
  },
): MemoryBar {
  const { size, width = 64, prefetchable = true, slot } = options;
  const all = size >= PAGE_SIZE ? [{ offset: 0, size }] : [];
  return { kind: "memory", size, width, prefetchable, mappable: options.mappable ?? all, slot };
}

/** A BAR for nothing but an MSI-X table of `vectors` entries and its pending bits: see `msixBarLayout`. */
export function msixTable(
  options: Placement & { readonly vectors: number; readonly width?: 32 | 64 },
): MmioBar {
  return mmio({ ...options, size: msixBarLayout(options.vectors).size });
}

/** Where `msixTable` and `msix` put table and pending bits: the table at 0, the bits after it, on a page each. */
export function msixBarLayout(vectors: number): { size: number; table: number; pba: number } {
  const pba = Math.ceil((vectors * PciMsixEntry.SIZE) / PAGE_SIZE) * PAGE_SIZE;
  return { size: 2 ** Math.ceil(Math.log2(pba + PAGE_SIZE)), table: 0, pba };
}

/** A BAR in its place. */
export interface Bar {
  /** Its number: of the base address register, of the VFIO region, and in calls to the device. */
  readonly slot: number;
  readonly declaration: BarDeclaration;
}

/** The expansion ROM: contents, and the power of two that it decodes. */
export interface Rom {
  readonly size: number;
  /** `size` bytes; what the contents do not fill reads as ones, as an unprogrammed ROM does. */
  readonly bytes: Uint8Array;
}

/**
 * Assigns BAR numbers: in order of declaration, where `slot` does not say otherwise. A 64-bit BAR takes two.
 * @returns one element a number; undefined where none starts
 * @throws VfioError EINVAL naming the BAR and the rule that it breaks
 */
export function layoutBars(declarations: readonly BarDeclaration[]): readonly (Bar | undefined)[] {
  const bars = new Array<Bar | undefined>(NUM_BARS).fill(undefined);
  let next = 0;
  for (const declaration of declarations) {
    const slot = declaration.slot ?? next;
    const slots = declaration.kind !== "io" && declaration.width === 64 ? 2 : 1;
    const what = `BAR ${slot}`;
    if (!Number.isInteger(slot) || slot < next) {
      throw invalid(
        `${what}: taken, or out of order: declare BARs by ascending number, a 64-bit one takes two`,
      );
    }
    if (slot + slots > NUM_BARS) {
      throw invalid(
        `${what}: needs ${slots} of the base address registers, which end with BAR ${NUM_BARS - 1}`,
      );
    }
    checkBar(what, declaration);
    bars[slot] = { slot, declaration };
    next = slot + slots;
  }
  return bars;
}

/** Declares the base address registers: the address bits below the size cannot be written. PCI 3.0 §6.2.5.1 */
export function writeBars(header: FieldWriter, bars: readonly (Bar | undefined)[]): void {
  for (const bar of bars) {
    if (bar === undefined) continue;
    const offset = PciHeader.BASE_ADDRESS_0 + 4 * bar.slot;
    const { declaration } = bar;
    header.watch(offset, 0xffffffff, ConfigEffect.BARS);
    if (declaration.kind === "io") {
      header.u32(offset, PciBar.SPACE_IO, { rw: addressMask(declaration.size) });
      continue;
    }
    const { size, width, prefetchable } = declaration;
    const type = width === 64 ? PciBar.MEM_TYPE_64 : PciBar.MEM_TYPE_32;
    header.u32(offset, type | (prefetchable ? PciBar.MEM_PREFETCH : 0), { rw: addressMask(size) });
    if (width === 32) continue;
    header.u32(offset + 4, 0, { rw: addressMask(Math.ceil(size / 2 ** 32)) });
    header.watch(offset + 4, 0xffffffff, ConfigEffect.BARS);
  }
}

/** @throws VfioError EINVAL for contents that no expansion ROM can hold */
export function layoutRom(contents: Uint8Array): Rom {
  if (contents.length === 0 || contents.length > MAX_ROM) {
    throw invalid(`ROM: ${contents.length} bytes; an expansion ROM holds 1 to ${MAX_ROM}`);
  }
  const size = Math.max(MIN_ROM, 2 ** Math.ceil(Math.log2(contents.length)));
  const bytes = new Uint8Array(size).fill(0xff);
  bytes.set(contents);
  return { size, bytes };
}

/** Declares the expansion ROM base address register. PCI 3.0 §6.2.5.2 */
export function writeRom(header: FieldWriter, rom: Rom): void {
  header.u32(PciHeader.ROM_ADDRESS, 0, { rw: addressMask(rom.size) | PciRom.ENABLE });
  header.watch(PciHeader.ROM_ADDRESS, 0xffffffff, ConfigEffect.ROM);
}

/** The bits of a 32-bit address register that a power of two of bytes leaves to software; from 4 GiB on, none. */
function addressMask(size: number): number {
  return ~(size - 1) >>> 0;
}

function checkBar(what: string, bar: BarDeclaration): void {
  const [min, max] = sizeLimits(bar);
  if (!Number.isInteger(bar.size) || bar.size < min || bar.size > max || !isPowerOfTwo(bar.size)) {
    throw invalid(
      `${what}: size ${bar.size}; ${bar.kind} BARs are a power of two from ${min} to ${max} bytes`,
    );
  }
  if (bar.kind === "memory") checkMappable(what, bar);
  else checkIoEvents(what, bar);
}

function sizeLimits(bar: BarDeclaration): readonly [number, number] {
  if (bar.kind === "io") return [MIN_IO_BAR, MAX_IO_BAR];
  return [MIN_MEMORY_BAR, bar.width === 64 ? MAX_64BIT_BAR : 2 ** 31];
}

function checkMappable(what: string, bar: MemoryBar): void {
  let end = 0;
  for (const area of bar.mappable) {
    const where = `${what}: mappable area at ${area.offset} of ${area.size} bytes`;
    if (area.size <= 0 || area.offset % PAGE_SIZE !== 0 || area.size % PAGE_SIZE !== 0) {
      throw invalid(`${where}: must be made of whole pages of ${PAGE_SIZE} bytes`);
    }
    if (area.offset < end) throw invalid(`${where}: overlaps the one before, or comes before it`);
    end = area.offset + area.size;
    if (end > bar.size) throw invalid(`${where}: leaves the BAR's ${bar.size} bytes`);
  }
}

function checkIoEvents(what: string, bar: MmioBar | IoBar): void {
  for (const event of bar.ioEvents) {
    if (event.offset < 0 || event.offset + Math.max(event.size, 1) > bar.size) {
      throw invalid(
        `${what}: ioEvent at ${event.offset} of ${event.size} bytes leaves the BAR's ${bar.size}`,
      );
    }
  }
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}

function invalid(message: string): VfioError {
  return new VfioError("EINVAL", message);
}
