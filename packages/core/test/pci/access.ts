import type { ConfigSpace } from "../../src/pci/index.js";

/** Accesses as software makes them: little-endian, through the masks. They return what the write asked for. */
export function write8(config: ConfigSpace, offset: number, value: number): number {
  return write(config, offset, value, 1);
}

export function write16(config: ConfigSpace, offset: number, value: number): number {
  return write(config, offset, value, 2);
}

export function write32(config: ConfigSpace, offset: number, value: number): number {
  return write(config, offset, value, 4);
}

function write(config: ConfigSpace, offset: number, value: number, size: number): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return config.write(offset, bytes, 0, size);
}

/** What software reads after it wrote all ones: the bits that it can change, and those that are always 1. */
export function writeOnes(config: ConfigSpace, offset: number): number {
  write32(config, offset, 0xffffffff);
  return config.get32(offset);
}
