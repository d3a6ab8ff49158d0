import type { Exploration } from "@vfiokit/explore";
import { Task } from "@vfiokit/lockdep";
import { DeviceSet, IrqIndex, PciDevice, RegionIndex, VfioError, type IdlePower } from "@vfiokit/core";
import { PciAf, PciAfCtrl, PciCommand, PciExp, PciExpDevctl, PciHeader, PciPm } from "@vfiokit/core/pci";
import type { MigrationState, ResetStateRequirement } from "@vfiokit/core/migration";
import { migrationOf, type BarMapping } from "@vfiokit/core/lab";
import { BAR_MEMORY, cardDefinition, type Card, type Ops } from "./card.js";
import type { Design } from "./design.js";
import { Monitor } from "./monitor.js";

export interface BenchOptions {
  /** Functions on the bus. */
  readonly functions: 1 | 2;
  readonly ops: Ops;
  readonly idlePower?: IdlePower;
  /** How far the series of patches has come. Default: the op is there, and nothing is demanded. */
  readonly step?: ResetStateRequirement;
}

/** A card in its slot. */
export interface Slot {
  readonly device: PciDevice;
  readonly card: Card;
  readonly mapping: BarMapping;
}

/** The cards of one execution, and what tasks do with them. */
export class Bench {
  readonly slots: Slot[] = [];
  readonly monitor: Monitor;
  /** Sets up, and takes down. */
  readonly task = new Task("set-up");

  constructor(
    readonly design: Design,
    options: BenchOptions,
  ) {
    this.monitor = new Monitor(design, this.slots);
    const set = new DeviceSet();
    for (let i = 0; i < options.functions; i++) {
      let card: Card | undefined;
      const definition = cardDefinition(this.monitor, options.ops, (made) => (card = made));
      const device = new PciDevice(definition, {
        set,
        name: `card.${i}`,
        strategy: design.strategy,
        idlePower: options.idlePower ?? "D0",
        resetStateOp: design.registration(options.step ?? "off"),
      });
      this.slots.push({ device, card: card!, mapping: device.mapBar(BAR_MEMORY) });
    }
  }

  /** The function that is looked at: the last on the bus. */
  get slot(): Slot {
    return this.slots.at(-1)!;
  }

  // Setting up: nothing is explored yet.

  /** As a client does at its start. */
  async use({ device, mapping }: Slot): Promise<void> {
    await this.writeConfig(device, this.task, PciHeader.COMMAND, PciCommand.MEMORY | PciCommand.MASTER);
    await mapping.fault(this.task);
    await device.dma.map(this.task, {
      address: BUFFER_AT,
      size: 0x1000n,
      readable: true,
      writable: true,
      backing: { bytes: new Uint8Array(0x1000), read: nothing, write: nothing, release: nothing },
    });
    await device.setIrqs(this.task, {
      index: IrqIndex.INTX,
      start: 0,
      count: 0,
      action: "trigger",
      data: "none",
    });
  }

  /** By real arcs. */
  async reach({ device }: Slot, state: MigrationState): Promise<void> {
    await device.migration?.setState(this.task, state);
  }

  /** From here on, the explorer decides who goes on. */
  async explore(x: Exploration): Promise<void> {
    for (const { device } of this.slots) {
      // What a design keeps for each device is there from the start.
      const migration = migrationOf(device);
      if (migration) await this.design.getState(migration, this.task);
    }
    this.monitor.begin(x);
  }

  // What tasks do.

  async writeConfig(device: PciDevice, task: Task, offset: number, value: number): Promise<void> {
    await device.writeRegion(task, RegionIndex.CONFIG, offset, 2, Uint8Array.of(value & 0xff, value >> 8), 0);
  }

  powerState({ device }: Slot, task: Task, state: number): Promise<void> {
    return this.writeConfig(device, task, device.capabilities.pm!.offset + PciPm.CTRL, state);
  }

  flrPcie({ device }: Slot, task: Task): Promise<void> {
    return this.writeConfig(
      device,
      task,
      device.capabilities.express!.offset + PciExp.DEVCTL,
      PciExpDevctl.BCR_FLR,
    );
  }

  async flrAf({ device }: Slot, task: Task): Promise<void> {
    const offset = device.capabilities.af!.offset + PciAf.CTRL;
    await device.writeRegion(task, RegionIndex.CONFIG, offset, 1, Uint8Array.of(PciAfCtrl.FLR), 0);
  }

  async setState({ device, card }: Slot, task: Task, target: MigrationState): Promise<void> {
    this.monitor.asksForTransition(card, task);
    await device.migration!.setState(task, target);
  }

  /** Runs what a task of the scenario does. A VfioError is an answer; anything else is a crash. */
  async attempt(name: string, action: () => void | Promise<void>): Promise<VfioError | undefined> {
    try {
      await action();
      this.monitor.note(`${name}: done`);
      return undefined;
    } catch (error) {
      if (error instanceof VfioError) {
        this.monitor.note(`${name}: ${error.message}`);
        return error;
      }
      const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      this.monitor.violate("no-crash", `${name}: ${why}`);
      return undefined;
    }
  }
}

export const BUFFER_AT = 0x2000_0000n;
export const BAR_AT = 0x1000_0000n;

const nothing = (): void => undefined;
