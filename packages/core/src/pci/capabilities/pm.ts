import { ConfigEffect } from "../config-space.js";
import type { FieldWriter } from "../layout.js";
import { PciCapId, PciPm, PciPmc, PciPmCtrl, PowerState } from "../registers.js";

/** Power management: D0 and D3hot always, D1 and D2 where declared. */
export interface PmCapability {
  readonly kind: "pm";
  readonly id: typeof PciCapId.PM;
  readonly size: typeof PciPm.SIZEOF;
  /** True: a function keeps its state from D3hot to D0. False: that transition resets it. */
  readonly noSoftReset: boolean;
  readonly d1: boolean;
  readonly d2: boolean;
  /** True: it can ask to be woken (PME) from D0 and D3hot. */
  readonly pme: boolean;
}

/** Power management capability, version 3. D3hot to D0 keeps the state unless `noSoftReset` is false. */
export function pm(
  options: { noSoftReset?: boolean; d1?: boolean; d2?: boolean; pme?: boolean } = {},
): PmCapability {
  const { noSoftReset = true, d1 = false, d2 = false, pme = false } = options;
  return { kind: "pm", id: PciCapId.PM, size: PciPm.SIZEOF, noSoftReset, d1, d2, pme };
}

export function writePm(fields: FieldWriter, cap: PmCapability): void {
  let pmc = 3; // PCI PM 1.2
  if (cap.d1) pmc |= PciPmc.D1;
  if (cap.d2) pmc |= PciPmc.D2;
  if (cap.pme) pmc |= PciPmc.PME_D0 | PciPmc.PME_D3HOT;
  fields.u16(PciPm.PMC, pmc);
  fields.u16(PciPm.CTRL, cap.noSoftReset ? PciPmCtrl.NO_SOFT_RESET : 0, {
    rw: PciPmCtrl.STATE_MASK | (cap.pme ? PciPmCtrl.PME_ENABLE : 0),
    w1c: cap.pme ? PciPmCtrl.PME_STATUS : 0,
  });
  fields.watch(PciPm.CTRL, PciPmCtrl.STATE_MASK, ConfigEffect.POWER_STATE);
  // PCI PM 1.2 §3.2.4: a write of an optional state that the function lacks completes, and its data is discarded.
  fields.refine(PciPm.CTRL, (old, written) => {
    const state = written & PciPmCtrl.STATE_MASK;
    const refused = (state === PowerState.D1 && !cap.d1) || (state === PowerState.D2 && !cap.d2);
    return refused ? (written & ~PciPmCtrl.STATE_MASK) | (old & PciPmCtrl.STATE_MASK) : written;
  });
}
