import { IrqIndex, type PciDevice } from "@vfiokit/core";
import { PciCommand, PciExp, PciExpDevctl, PciHeader, PciPm } from "@vfiokit/core/pci";
import { counterRegisters } from "@vfiokit/devices";
import { expect } from "vitest";
import { read, write, writeConfig, type GuestVfio } from "./guest-vfio.js";

const { ADDRESS_HIGH, ADDRESS_LOW, COMPARE, CONTROL, COUNT, PERIOD, STATUS } = counterRegisters;
const { CONTROL_ENABLE, CONTROL_INTERRUPT, PERIOD_POWER_ON, STATUS_MATCH } = counterRegisters;

const REGISTERS = [CONTROL, PERIOD, COUNT, COMPARE, STATUS, ADDRESS_LOW, ADDRESS_HIGH];
/** Where the guest's VFIO maps a page for the counters to write to. */
const IOVA = 0x10000;
const PAGE = 4096;
const STEPS = 5;
/** Milliseconds. */
const SOON = 20_000;

/** The values of all registers: after a reset, and after `scribble`. */
export const POWER_ON = [0, PERIOD_POWER_ON, 0, 0, 0, 0, 0];
export const SCRIBBLED = [CONTROL_INTERRUPT, 7, 42, 99, 0, IOVA, 1];

/** A function of the counter card, driven through the guest's VFIO. Its methods return commands, or run them. */
export class GuestCounter {
  private goal = 0;

  constructor(
    private readonly vfio: GuestVfio,
    private readonly fn: number,
    private readonly device: PciDevice,
  ) {}

  /** The page that all counters write to. */
  static async mapPage(vfio: GuestVfio): Promise<void> {
    await vfio.ask(`map ${IOVA} ${PAGE}`);
  }

  async setUp(): Promise<void> {
    const command = PciCommand.MEMORY | PciCommand.MASTER;
    await this.vfio.ask(
      writeConfig(this.fn, PciHeader.COMMAND, command, 2),
      `eventfd ${this.fn} ${IrqIndex.MSI}`,
    );
  }

  registers(): Promise<number[]> {
    return this.vfio.numbers(...REGISTERS.map((offset) => read(this.fn, 0, offset)));
  }

  scribble(): string[] {
    return REGISTERS.map((offset, at) => write(this.fn, 0, offset, SCRIBBLED[at]!));
  }

  flr(): string {
    const { config, capabilities } = this.device;
    const control = capabilities.express!.offset + PciExp.DEVCTL;
    return writeConfig(this.fn, control, config.get16(control) | PciExpDevctl.BCR_FLR, 2);
  }

  setPower(state: number): string {
    return writeConfig(this.fn, this.device.capabilities.pm!.offset + PciPm.CTRL, state, 2);
  }

  /** Counts to a value of its own, writes that to memory through the IOMMU, and interrupts once. */
  async works(): Promise<void> {
    const { fn, vfio } = this;
    this.goal += STEPS;
    await vfio.ask(
      write(fn, 0, COUNT, this.goal - STEPS),
      write(fn, 0, COMPARE, this.goal),
      write(fn, 0, PERIOD, 1),
      write(fn, 0, ADDRESS_LOW, IOVA + 4 * fn),
      write(fn, 0, ADDRESS_HIGH, 0),
    );
    const wait = (milliseconds: number): string => `wait ${fn} ${IrqIndex.MSI} ${milliseconds}`;
    expect(await vfio.numbers(wait(0))).toEqual([0]);
    await vfio.ask(write(fn, 0, CONTROL, CONTROL_ENABLE | CONTROL_INTERRUPT));
    expect(await vfio.numbers(wait(SOON), read(fn, 0, STATUS), `peek ${4 * fn}`)).toEqual([
      1,
      STATUS_MATCH,
      this.goal,
    ]);
    await vfio.ask(write(fn, 0, CONTROL, 0), write(fn, 0, STATUS, STATUS_MATCH));
  }
}
