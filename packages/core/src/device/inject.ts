import { IrqIndex } from "../uapi.js";
import { VfioError } from "../errno.js";
import type { IrqController } from "../irq/index.js";
import {
  PciErr,
  PciErrCor,
  PciExp,
  PciExpDevsta,
  PciErrUncor,
  type Capabilities,
  type ConfigSpace,
} from "../pci/index.js";

/** Errors that an administrator can inject. `detected`: PCIe 6.0 §7.5.3.5, Device Status. */
export const injectableErrors = {
  /** The link corrected it: a bad TLP. */
  correctable: { register: PciErr.COR_STATUS, bits: PciErrCor.BAD_TLP, detected: PciExpDevsta.CED },
  /** A request is lost, the link is not: a completion time-out. */
  nonfatal: { register: PciErr.UNCOR_STATUS, bits: PciErrUncor.COMP_TIME, detected: PciExpDevsta.NFED },
  /** The link is not reliable any more: a malformed TLP. */
  fatal: { register: PciErr.UNCOR_STATUS, bits: PciErrUncor.MALF_TLP, detected: PciExpDevsta.FED },
} as const;

/** A name of an error that can be injected, as ctl does. */
export type InjectableError = keyof typeof injectableErrors;

/**
 * Records an error in Device Status and in the AER capability, where there is one, and tells the client of an
 * uncorrectable one (Linux: vfio_pci_core_aer_err_detected signals the ERR interrupt).
 * @throws VfioError EINVAL: without PCI Express there is nothing to record it in, and nobody to tell
 */
export function injectError(
  error: InjectableError,
  { config, capabilities, irqs }: { config: ConfigSpace; capabilities: Capabilities; irqs: IrqController },
): void {
  const { register, bits, detected } = injectableErrors[error];
  const { aer, express } = capabilities;
  if (!express)
    throw new VfioError("EINVAL", `error ${error}: the device has no PCI Express capability to report it`);
  const status = express.offset + PciExp.DEVSTA;
  config.set16(status, config.get16(status) | detected);
  if (aer) config.set32(aer.offset + register, config.get32(aer.offset + register) | bits);
  if (error !== "correctable") irqs.raise(IrqIndex.ERR);
}
