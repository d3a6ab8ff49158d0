import { Mutex, type Task } from "@vfiokit/lockdep";
import { IrqFlags, IrqIndex, NUM_IRQS, type IrqInfo } from "../uapi.js";
import { VfioError } from "../errno.js";
import { EventLine } from "./event.js";
import { IntxLine } from "./intx.js";
import type { IrqLines } from "./lines.js";
import { MessageVectors } from "./messages.js";
import { validateSetIrqs, type SetIrqs } from "./set-irqs.js";

/** How many interrupts a device has. */
export interface IrqCounts {
  readonly intx: 0 | 1;
  /** Vectors: 0 to 32. */
  readonly msi: number;
  /** Vectors: 0 to 2048. */
  readonly msix: number;
  /** VFIO_PCI_ERR_IRQ_INDEX: device errors (Linux: PCIe functions only). */
  readonly err: 0 | 1;
  /** VFIO_PCI_REQ_IRQ_INDEX: the device is asked back. */
  readonly req: 0 | 1;
}

/** Where the interrupts' state shows up in registers. */
export interface IrqRegisters {
  /** PCI status register bit 3, Interrupt Status. */
  intxStatus?(asserted: boolean): void;
  /** MSI Pending Bits. */
  msiPending?(vector: number, pending: boolean): void;
  /** MSI-X Pending Bit Array. */
  msixPending?(vector: number, pending: boolean): void;
}

/** What migrates: levels, pending bits, and MSI-X's masks. Triggers and SET_IRQS masks are the client's. */
export interface IrqSnapshot {
  readonly intxAsserted: boolean;
  /** Bit per vector, LSB first. */
  readonly msiPending: Uint8Array;
  /** Bit per vector, LSB first. */
  readonly msixPending: Uint8Array;
  /**
   * Bit per vector, LSB first: the vectors whose Vector Control was written to mask them. The table does not tell: it
   * says "masked" from power-on. MSI's masks are in configuration space.
   */
  readonly msixMasked: Uint8Array;
}

/**
 * VFIO uAPI: struct vfio_irq_info. As Linux's, but for two things: MSI and MSI-X can be masked, which vfio-user
 * clients need (libvfio-user issue 806), and are not NORESIZE, since adding a vector costs nothing here.
 */
const infoFlags: readonly number[] = [
  IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED, // INTX
  IrqFlags.EVENTFD | IrqFlags.MASKABLE, // MSI
  IrqFlags.EVENTFD | IrqFlags.MASKABLE, // MSIX
  IrqFlags.EVENTFD, // ERR
  IrqFlags.EVENTFD, // REQ
];

const ignore = (): void => undefined;

/**
 * A device's interrupts: the lines the device raises, the configuration the client sets, and the state that
 * registers show. Raising one allocates nothing.
 */
export class IrqController {
  /** Protects the client's configuration (Linux: igate). */
  readonly igate = new Mutex("igate");
  readonly intx: IntxLine;
  readonly msi: MessageVectors;
  readonly msix: MessageVectors;
  readonly #err = new EventLine();
  readonly #req = new EventLine();
  readonly #counts: readonly number[];
  readonly #lines: readonly IrqLines[];

  constructor(counts: IrqCounts, registers: IrqRegisters = {}) {
    this.#counts = [counts.intx, counts.msi, counts.msix, counts.err, counts.req];
    this.intx = new IntxLine((asserted) => registers.intxStatus?.(asserted));
    this.msi = new MessageVectors("MSI", counts.msi, registers.msiPending?.bind(registers) ?? ignore);
    this.msix = new MessageVectors("MSI-X", counts.msix, registers.msixPending?.bind(registers) ?? ignore);
    this.#lines = [this.intx, this.msi, this.msix, this.#err, this.#req];
  }

  /** VFIO_DEVICE_GET_IRQ_INFO. @throws VfioError EINVAL */
  info(index: number): IrqInfo {
    const count = this.#counts[index];
    if (count === undefined)
      throw new VfioError("EINVAL", `index ${index}: irq indices are 0 to ${NUM_IRQS - 1}`);
    return { index, flags: infoFlags[index]!, count };
  }

  /**
   * VFIO_DEVICE_SET_IRQS. The triggers of the request are the controller's from here on: each is closed once,
   * when it is replaced or dropped, or at once where the request fails.
   * @throws VfioError EINVAL, ENOTTY (or rejects, if it had to wait for igate)
   */
  set(task: Task, request: SetIrqs): void | Promise<void> {
    let wait: void | Promise<void>;
    try {
      validateSetIrqs(request, this.#counts);
      wait = this.igate.lock(task);
    } catch (error) {
      closeTriggers(request);
      throw error;
    }
    if (!wait) {
      this.#apply(task, request);
      return;
    }
    return wait.then(
      () => this.#apply(task, request),
      (reason: unknown) => {
        closeTriggers(request);
        throw reason;
      },
    );
  }

  /** Tells the client of a device error (ERR) or that the device is wanted back (REQ). */
  raise(index: typeof IrqIndex.ERR | typeof IrqIndex.REQ): void {
    (index === IrqIndex.ERR ? this.#err : this.#req).fire();
  }

  /** The guest wrote PCI command register bit 10, Interrupt Disable. */
  setIntxDisabled(disabled: boolean): void {
    this.intx.setDisabled(disabled);
  }

  /** The guest wrote PCI command register bit 2, Bus Master. */
  setBusMaster(on: boolean): void {
    this.msi.setBusMaster(on);
    this.msix.setBusMaster(on);
  }

  /** The guest wrote MSI Mask Bits. @param bits the register: bit n masks vector n */
  setMsiMask(bits: number): void {
    for (let v = 0; v < this.msi.count; v++) this.msi.setMasked(v, ((bits >>> v) & 1) === 1);
  }

  /** The guest wrote MSI-X Message Control bit 14, Function Mask (libvfio-user issue 807). */
  setFunctionMasked(masked: boolean): void {
    this.msix.setFunctionMasked(masked);
  }

  /**
   * A stopped device interrupts nobody (VFIO uAPI: STOP). What is raised meanwhile, by a register write say,
   * is kept, migrates, and is delivered by `release`.
   */
  hold(): void {
    this.#setHeld(true);
  }

  release(): void {
    this.#setHeld(false);
  }

  /** The function was reset: no level, nothing pending, the guest's masks clear. The client's setup stays. */
  deviceReset(): void {
    this.intx.deviceReset();
    this.msi.deviceReset();
    this.msix.deviceReset();
  }

  /** The client is gone: its triggers are closed, its masks forgotten. Levels and pending bits stay. */
  disconnect(task: Task): void | Promise<void> {
    const drop = (): void => {
      for (const lines of this.#lines) lines.disconnect();
      this.igate.unlock(task);
    };
    const wait = this.igate.lock(task);
    if (wait) return wait.then(drop);
    drop();
  }

  snapshot(): IrqSnapshot {
    return {
      intxAsserted: this.intx.asserted,
      msiPending: this.msi.savePending(),
      msixPending: this.msix.savePending(),
      msixMasked: this.msix.saveMasks(),
    };
  }

  /**
   * Replaces levels, pending bits and masks. The masks come first: what they hold back stays pending.
   * @throws VfioError EINVAL, with nothing changed, if they are of a device with other vector counts
   */
  load(snapshot: IrqSnapshot): void {
    this.msi.checkBits("pending bits", snapshot.msiPending);
    this.msix.checkBits("pending bits", snapshot.msixPending);
    this.msix.checkBits("masks", snapshot.msixMasked);
    this.msix.loadMasks(snapshot.msixMasked);
    this.msi.loadPending(snapshot.msiPending);
    this.msix.loadPending(snapshot.msixPending);
    this.intx.set(snapshot.intxAsserted);
  }

  #setHeld(held: boolean): void {
    this.intx.setHeld(held);
    this.msi.setHeld(held);
    this.msix.setHeld(held);
  }

  /** Under igate, which it releases. A validated request cannot fail. */
  #apply(task: Task, { index, start, count, action, data }: SetIrqs): void {
    const lines = this.#lines[index]!;
    if (count === 0) lines.disable();
    for (let n = 0; n < count; n++) {
      if (data !== "none" && "triggers" in data) {
        const trigger = data.triggers[n] ?? undefined;
        if (action === "trigger") lines.assign(start + n, trigger);
        else if (action === "unmask" && lines === this.intx) this.intx.unmaskBy(trigger);
      } else if (data === "none" || data.bools[n] !== 0) {
        if (action === "trigger") lines.fire(start + n);
        else lines[action](start + n);
      }
    }
    this.igate.unlock(task);
  }
}

function closeTriggers({ data }: SetIrqs): void {
  if (data !== "none" && "triggers" in data) for (const trigger of data.triggers) trigger?.close();
}
