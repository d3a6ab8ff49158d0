import { VfioError } from "../../errno.js";
import { ConfigEffect } from "../config-space.js";
import type { FieldWriter } from "../layout.js";
import { PciCapId, PciMsi, PciMsiFlags } from "../registers.js";

/** Message Signalled Interrupts. */
export interface MsiCapability {
  readonly kind: "msi";
  readonly id: typeof PciCapId.MSI;
  readonly size: number;
  /** 1, 2, 4, 8, 16 or 32 messages that the function can send. */
  readonly vectors: number;
  readonly address64: boolean;
  readonly perVectorMask: boolean;
  /** Offsets in the capability; `mask` and `pending` are there with `perVectorMask` only. */
  readonly registers: { readonly data: number; readonly mask: number; readonly pending: number };
}

/**
 * MSI capability: 64-bit addresses and no per-vector masking by default.
 * @throws VfioError EINVAL for a number of vectors that is no power of two up to 32
 */
export function msi(
  options: { vectors?: number; address64?: boolean; perVectorMask?: boolean } = {},
): MsiCapability {
  const { vectors = 1, address64 = true, perVectorMask = false } = options;
  if (![1, 2, 4, 8, 16, 32].includes(vectors)) {
    throw new VfioError("EINVAL", `MSI: ${vectors} vectors; a function has a power of two of them, up to 32`);
  }
  const registers = address64
    ? { data: PciMsi.DATA_64, mask: PciMsi.MASK_64, pending: PciMsi.PENDING_64 }
    : { data: PciMsi.DATA_32, mask: PciMsi.MASK_32, pending: PciMsi.PENDING_32 };
  const size = perVectorMask ? registers.pending + 4 : registers.data + 2;
  return { kind: "msi", id: PciCapId.MSI, size, vectors, address64, perVectorMask, registers };
}

export function writeMsi(fields: FieldWriter, cap: MsiCapability): void {
  const capable = Math.log2(cap.vectors);
  let flags = capable << 1;
  if (cap.address64) flags |= PciMsiFlags["64BIT"];
  if (cap.perVectorMask) flags |= PciMsiFlags.MASKBIT;
  const control = PciMsiFlags.ENABLE | PciMsiFlags.QSIZE;
  fields.u16(PciMsi.FLAGS, flags, { rw: control });
  fields.watch(PciMsi.FLAGS, control, ConfigEffect.MSI);
  // PCI 3.0 §6.8.1.3: software enables no more messages than the function is capable of. Linux clamps, so do we.
  fields.refine(PciMsi.FLAGS, (_old, written) => {
    const enabled = (written & PciMsiFlags.QSIZE) >> 4;
    return (written & ~PciMsiFlags.QSIZE) | (Math.min(enabled, capable) << 4);
  });

  fields.u32(PciMsi.ADDRESS_LO, 0, { rw: 0xfffffffc });
  if (cap.address64) fields.u32(PciMsi.ADDRESS_HI, 0, { rw: 0xffffffff });
  fields.u16(cap.registers.data, 0, { rw: 0xffff });
  if (!cap.perVectorMask) return;
  const all = 0xffffffff >>> (32 - cap.vectors);
  fields.u32(cap.registers.mask, 0, { rw: all });
  fields.u32(cap.registers.pending, 0); // the device's own
  fields.watch(cap.registers.mask, all, ConfigEffect.MSI_MASK);
}
