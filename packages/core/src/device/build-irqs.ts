import { IrqController } from "../irq/index.js";
import { PciHeader, PciStatus, type Capabilities, type ConfigSpace, type MsixTable } from "../pci/index.js";
import type { PciDeviceDefinition } from "./define.js";

/** The interrupts that a definition's pin and capabilities say, with their state shown in registers. */
export function buildIrqs(
  definition: PciDeviceDefinition,
  { config, capabilities }: { config: ConfigSpace; capabilities: Capabilities },
  msixTable: MsixTable | undefined,
): IrqController {
  const { msi, msix, express } = capabilities;
  return new IrqController(
    {
      intx: definition.interruptPin ? 1 : 0,
      msi: msi?.vectors ?? 0,
      msix: msix?.vectors ?? 0,
      // Linux: every function with PCI Express has ERR (vfio_pci_get_irq_count).
      err: express ? 1 : 0,
      req: 1,
    },
    {
      intxStatus: (asserted) => config.assign16(PciHeader.STATUS, PciStatus.INTERRUPT, asserted),
      msiPending: (vector, pending) => {
        if (!msi?.perVectorMask) return;
        const at = msi.offset + msi.registers.pending;
        const bit = 1 << vector;
        config.set32(at, pending ? config.get32(at) | bit : config.get32(at) & ~bit);
      },
      msixPending: (vector, pending) => msixTable?.setPending(vector, pending),
    },
  );
}
