import { Shared } from "@vfiokit/lockdep";
import type { DmaAddressSpace } from "../dma/address-space.js";
import type { IrqController } from "../irq/index.js";
import {
  ConfigEffect,
  PciCommand,
  PciHeader,
  PciMsix,
  PciMsixFlags,
  PciPm,
  PciPmCtrl,
  PowerState,
  type Capabilities,
  type ConfigSpace,
} from "../pci/index.js";
import type { ResetInitiator } from "../reset/initiator.js";

/** What is controlled. */
interface ControlledDevice {
  readonly config: ConfigSpace;
  readonly capabilities: Capabilities;
  readonly irqs: IrqController;
  readonly dma: DmaAddressSpace;
}

/**
 * What configuration space decides for the rest of the device: memory, bus mastering, interrupts, power and resets
 * (Linux: vfio_pci_config.c).
 */
export class DeviceControl {
  readonly #memoryEnabled = new Shared("memoryEnabled", false);

  constructor(private readonly device: ControlledDevice) {}

  /** Memory BARs answer: Memory Space Enable is 1, and the function is not in D3hot. */
  get memoryEnabled(): boolean {
    return this.#memoryEnabled.value;
  }

  /** PCI PM 1.2 §3.2.4, PMCSR bits 0 and 1. */
  get powerState(): number {
    const { pm } = this.device.capabilities;
    return pm ? this.device.config.get16(pm.offset + PciPm.CTRL) & PciPmCtrl.STATE_MASK : PowerState.D0;
  }

  /** Makes the rest of the device follow configuration space. */
  apply(): void {
    const { config, irqs, dma, capabilities } = this.device;
    const command = config.get16(PciHeader.COMMAND);
    const powered = this.powerState !== PowerState.D3HOT;
    this.#memoryEnabled.value = (command & PciCommand.MEMORY) !== 0 && powered;
    // In D3hot a function starts nothing either (PCI PM 1.2 §5.4.1).
    dma.busMaster = (command & PciCommand.MASTER) !== 0 && powered;
    irqs.setBusMaster(dma.busMaster);
    irqs.setIntxDisabled((command & PciCommand.INTX_DISABLE) !== 0);
    const { msi, msix } = capabilities;
    if (msi?.perVectorMask) irqs.setMsiMask(config.get32(msi.offset + msi.registers.mask));
    if (msix)
      irqs.setFunctionMasked((config.get16(msix.offset + PciMsix.FLAGS) & PciMsixFlags.MASKALL) !== 0);
  }

  /** Brings the function to D0. @returns true if that transition resets it (PCI PM 1.2 §3.2.4) */
  powerOn(): boolean {
    const { capabilities, config } = this.device;
    const { pm } = capabilities;
    const before = this.powerState;
    if (!pm || before === PowerState.D0) return false;
    const control = pm.offset + PciPm.CTRL;
    config.set16(control, config.get16(control) & ~PciPmCtrl.STATE_MASK);
    this.apply();
    return this.#powerOnResets(before);
  }

  /**
   * The reset that a write of configuration space asks for. At most one a write: a second would find the function just
   * reset.
   * @param effects of the write: ConfigEffect bits
   * @param before the power state before it
   */
  resetBy(effects: number, before: number): ResetInitiator | undefined {
    if (effects & ConfigEffect.FLR_PCIE) return "flr-pcie";
    if (effects & ConfigEffect.FLR_AF) return "flr-af";
    return this.#powerOnResets(before) && this.powerState === PowerState.D0 ? "power-on" : undefined;
  }

  /** The way to D0 from D3hot resets a function without No_Soft_Reset. */
  #powerOnResets(before: number): boolean {
    return before === PowerState.D3HOT && !this.device.capabilities.pm!.noSoftReset;
  }
}
