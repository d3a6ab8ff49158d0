import type { FieldWriter } from "../layout.js";
import { PciErr, PciErrCor, PciErrUncor, PciExtCapId } from "../registers.js";

/** Advanced Error Reporting: the device sets status bits, software clears them by writing 1. */
export interface AerCapability {
  readonly kind: "aer";
  readonly extendedId: typeof PciExtCapId.ERR;
  readonly version: 2;
  readonly size: typeof PciErr.SIZEOF;
}

/** Advanced Error Reporting extended capability. */
export function aer(): AerCapability {
  return { kind: "aer", extendedId: PciExtCapId.ERR, version: 2, size: PciErr.SIZEOF };
}

/** The errors that an endpoint can detect. */
const UNCORRECTABLE =
  PciErrUncor.DLP |
  PciErrUncor.POISON_TLP |
  PciErrUncor.FCP |
  PciErrUncor.COMP_TIME |
  PciErrUncor.COMP_ABORT |
  PciErrUncor.UNX_COMP |
  PciErrUncor.RX_OVER |
  PciErrUncor.MALF_TLP |
  PciErrUncor.ECRC |
  PciErrUncor.UNSUP |
  PciErrUncor.INTN;
/** PCIe 6.0 §7.8.4.4: the ones that are fatal unless software says otherwise. */
const FATAL =
  PciErrUncor.DLP | PciErrUncor.FCP | PciErrUncor.RX_OVER | PciErrUncor.MALF_TLP | PciErrUncor.INTN;
const CORRECTABLE =
  PciErrCor.RCVR |
  PciErrCor.BAD_TLP |
  PciErrCor.BAD_DLLP |
  PciErrCor.REP_ROLL |
  PciErrCor.REP_TIMER |
  PciErrCor.ADV_NFAT;

export function writeAer(fields: FieldWriter): void {
  fields.u32(PciErr.UNCOR_STATUS, 0, { w1c: UNCORRECTABLE });
  // PCIe 6.0 §7.8.4.3, §7.8.4.6: internal and advisory errors start masked.
  fields.u32(PciErr.UNCOR_MASK, PciErrUncor.INTN, { rw: UNCORRECTABLE });
  fields.u32(PciErr.UNCOR_SEVER, FATAL, { rw: UNCORRECTABLE });
  fields.u32(PciErr.COR_STATUS, 0, { w1c: CORRECTABLE });
  fields.u32(PciErr.COR_MASK, PciErrCor.ADV_NFAT, { rw: CORRECTABLE });
}
