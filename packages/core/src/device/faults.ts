import { IrqIndex } from "./info.js";
import type { IrqController } from "../irq/index.js";
import { PciErr, PciErrCor, PciErrUncor, type Capabilities, type ConfigSpace } from "../pci/index.js";

/** Errors that an administrator can inject. */
export const injectableErrors = {
  /** The link corrected it: a bad TLP. */
  correctable: { register: PciErr.COR_STATUS, bits: PciErrCor.BAD_TLP },
  /** A request is lost, the link is not: a completion time-out. */
  nonfatal: { register: PciErr.UNCOR_STATUS, bits: PciErrUncor.COMP_TIME },
  /** The link is not reliable any more: a malformed TLP. */
  fatal: { register: PciErr.UNCOR_STATUS, bits: PciErrUncor.MALF_TLP },
} as const;

export type InjectableError = keyof typeof injectableErrors;

/**
 * Records an error in the AER capability, where there is one, and tells the client of an uncorrectable one
 * (Linux: vfio_pci_core_aer_err_detected signals the ERR interrupt).
 */
export function injectError(
  error: InjectableError,
  { config, capabilities, irqs }: { config: ConfigSpace; capabilities: Capabilities; irqs: IrqController },
): void {
  const { register, bits } = injectableErrors[error];
  const { aer } = capabilities;
  if (aer) config.set32(aer.offset + register, config.get32(aer.offset + register) | bits);
  if (error !== "correctable") irqs.raise(IrqIndex.ERR);
}
