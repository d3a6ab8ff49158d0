import { ConfigEffect } from "../config-space.js";
import type { FieldWriter } from "../layout.js";
import { PciAf, PciAfCap, PciAfCtrl, PciCapId } from "../registers.js";

/** Advanced Features: function level reset, and a Transactions Pending bit (`PciAf.STATUS`) that the device sets. */
export interface AfCapability {
  readonly kind: "af";
  readonly id: typeof PciCapId.AF;
  readonly size: typeof PciAf.SIZEOF;
}

/** Advanced Features capability: function level reset for functions without PCI Express. */
export function af(): AfCapability {
  return { kind: "af", id: PciCapId.AF, size: PciAf.SIZEOF };
}

export function writeAf(fields: FieldWriter, cap: AfCapability): void {
  fields.u8(PciAf.LENGTH, cap.size);
  fields.u8(PciAf.CAP, PciAfCap.TP | PciAfCap.FLR);
  fields.u8(PciAf.CTRL, 0, { action: PciAfCtrl.FLR });
  fields.u8(PciAf.STATUS, 0);
  fields.watch(PciAf.CTRL, PciAfCtrl.FLR, ConfigEffect.FLR_AF);
}
