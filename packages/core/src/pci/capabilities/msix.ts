import { VfioError } from "../../errno.js";
import { msixBarLayout } from "../bars.js";
import { ConfigEffect } from "../config-space.js";
import type { FieldWriter } from "../layout.js";
import { PciCapId, PciMsix, PciMsixEntry, PciMsixFlags } from "../registers.js";

/** A place in a BAR. */
export interface BarLocation {
  readonly bar: number;
  /** Bytes from the BAR's start. */
  readonly offset: number;
}

/** MSI-X: up to 2048 vectors, whose table and pending bits live in BARs. */
export interface MsixCapability {
  readonly kind: "msix";
  readonly id: typeof PciCapId.MSIX;
  readonly size: typeof PciMsix.SIZEOF;
  readonly vectors: number;
  readonly table: BarLocation;
  readonly pba: BarLocation;
}

/**
 * MSI-X capability. With `bar` alone the BAR is laid out as `msixTable` makes it; `table` and `pba` say otherwise.
 * @throws VfioError EINVAL for a number of vectors outside 1 to 2048, or a place that is not a multiple of 8
 */
export function msix(
  options: { vectors: number } & ({ bar: number } | { table: BarLocation; pba: BarLocation }),
): MsixCapability {
  const { vectors } = options;
  if (!Number.isInteger(vectors) || vectors < 1 || vectors > PciMsixFlags.QSIZE + 1) {
    throw new VfioError("EINVAL", `MSI-X: ${vectors} vectors; a function has 1 to ${PciMsixFlags.QSIZE + 1}`);
  }
  const standard = msixBarLayout(vectors);
  const { table, pba } =
    "bar" in options
      ? {
          table: { bar: options.bar, offset: standard.table },
          pba: { bar: options.bar, offset: standard.pba },
        }
      : options;
  for (const [name, place] of [
    ["table", table],
    ["pending bits", pba],
  ] as const) {
    if (place.offset >= 0 && place.offset < 2 ** 32 && place.offset % 8 === 0) continue;
    throw new VfioError("EINVAL", `MSI-X ${name}: offset ${place.offset} is not a 32-bit multiple of 8`);
  }
  return { kind: "msix", id: PciCapId.MSIX, size: PciMsix.SIZEOF, vectors, table, pba };
}

/** Bytes of the table. */
export function msixTableSize(vectors: number): number {
  return vectors * PciMsixEntry.SIZE;
}

/** Bytes of the pending bits: whole 64-bit words. PCI 3.0 §6.8.2.10 */
export function msixPbaSize(vectors: number): number {
  return Math.ceil(vectors / 64) * 8;
}

export function writeMsix(fields: FieldWriter, cap: MsixCapability): void {
  const control = PciMsixFlags.MASKALL | PciMsixFlags.ENABLE;
  fields.u16(PciMsix.FLAGS, cap.vectors - 1, { rw: control });
  fields.watch(PciMsix.FLAGS, control, ConfigEffect.MSIX);
  fields.u32(PciMsix.TABLE, cap.table.offset | cap.table.bar);
  fields.u32(PciMsix.PBA, cap.pba.offset | cap.pba.bar);
}
