import type { Exploration } from "@vfiokit/explore";
import { Task } from "@vfiokit/lockdep";
import { unseen } from "@vfiokit/lockdep/hooks";
import {
  DeviceSet,
  IrqIndex,
  PciDevice,
  RegionIndex,
  VfioError,
  errnoName,
  errnoOf,
  type IdlePower,
} from "@vfiokit/core";
import { PciAf, PciAfCtrl, PciCommand, PciExp, PciExpDevctl, PciHeader, PciPm } from "@vfiokit/core/pci";
import { MigrationState, migrationStateName, type ResetStateRequirement } from "@vfiokit/core/migration";
import { hasSession, migrationOf, type BarMapping } from "@vfiokit/core/lab";
import { BAR_MEMORY, cardDefinition, type Card, type CardObserver, type Ops } from "./card.js";
import type { Design } from "./design.js";
import type { Invariant, Violation } from "./invariants.js";
import type { LockEvent } from "./recorder.js";

const { RUNNING } = MigrationState;

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

/** What somebody did or saw, for a person who reads a counterexample. */
export interface Note {
  /** Events that were over by then. */
  readonly after: number;
  readonly text: string;
  readonly task: string | undefined;
  readonly lock: LockEvent | undefined;
}

/** The cards of one execution, and what was observed of them. */
export class Bench implements CardObserver {
  readonly slots: Slot[] = [];
  readonly violations: Violation[] = [];
  readonly notes: Note[] = [];
  /** Sets up, and takes down. */
  readonly task = new Task("set-up");
  /** Events that are over. */
  events = 0;
  /** The client goes in this scenario: that abandons its migration. */
  leaves = false;
  #x: Exploration | undefined;
  /** By card: how many resets there were before anything was explored. */
  readonly #before = new Map<Card, number>();
  /** Resets in the order in which they happened, and whose they were. */
  readonly #resetBy: { card: Card; signal: AbortSignal | undefined; resets: number; returned: boolean }[] =
    [];
  /** By task: resets that had returned when its transition was asked for. */
  readonly #transitions = new Map<Task, number>();

  constructor(
    readonly design: Design,
    options: BenchOptions,
  ) {
    const set = new DeviceSet();
    for (let i = 0; i < options.functions; i++) {
      let card: Card | undefined;
      const definition = cardDefinition(this, options.ops, (made) => (card = made));
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
    for (const { device, card } of this.slots) {
      // What a design keeps for each device is there from the start.
      const migration = migrationOf(device);
      if (migration) await this.design.getState(migration, this.task);
      this.#before.set(card, card.hardware.resets);
    }
    x.invariant(() => {
      this.events++;
    });
    // What setting up had to do is not looked at.
    this.notes.length = 0;
    this.violations.length = 0;
    this.#x = x;
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
    this.#transitions.set(task, this.#returnedOf(card).length + (this.#before.get(card) ?? 0));
    await device.migration!.setState(task, target);
  }

  /** The state as a client is told it. */
  getState({ device }: Slot, task: Task): MigrationState | Promise<MigrationState> {
    return this.design.getState(migrationOf(device)!, task);
  }

  /** Runs what a task of the scenario does. A VfioError is an answer; anything else is a crash. */
  async attempt(name: string, action: () => void | Promise<void>): Promise<VfioError | undefined> {
    try {
      await action();
      this.note(`${name}: done`);
      return undefined;
    } catch (error) {
      if (error instanceof VfioError) {
        this.note(`${name}: ${error.message}`);
        return error;
      }
      const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      this.violate("no-crash", `${name}: ${why}`);
      return undefined;
    }
  }

  // What is observed.

  violate(invariant: Invariant, text: string): void {
    this.note(`!! ${invariant}: ${text}`);
    if (!this.violations.some((known) => known.invariant === invariant))
      this.violations.push({ invariant, text });
  }

  /** @param task who, if it is not the one that runs */
  note(text: string, task?: string, lock?: LockEvent): void {
    this.notes.push({ after: this.events, text, task, lock });
  }

  /** A path has returned whose resets of `slot` may have happened. Looks at the migration as any client could. */
  async returned(slot: Slot, task: Task): Promise<void> {
    const { card, device } = slot;
    const mine = this.#resetBy.filter((reset) => reset.card === card && reset.signal === task.signal);
    const last = mine.at(-1);
    if (!last) return;
    for (const reset of mine) reset.returned = true;
    const { resets } = last;
    const { migration } = device;
    if (!migration) return;
    if (migration.sessionOpen && card.sessionAt < resets)
      this.violate("reset-complete", `${card.name}: the reset has returned, and the old session is open`);
    const state = await this.getState(slot, task);
    const { mode, by } = card.hardware;
    if (by !== "arc" && state !== RUNNING) {
      this.violate(
        "reset-complete",
        `${card.name}: the reset has returned, the device is ${migrationStateName(mode)}, the state reads ${migrationStateName(state)}`,
      );
    }
    this.note(`${card.name}: the state reads ${migrationStateName(state)}`);
  }

  /** `error` is what a reset gives a transition under way, and none came since this one was asked for. */
  wasUndone(error: VfioError, { card }: Slot, task: Task): boolean {
    return errnoName(errnoOf(error)) === "ECANCELED" && card.hardware.resets <= this.#transitions.get(task)!;
  }

  /** Everything has ended. */
  async atEnd(): Promise<void> {
    this.#x = undefined;
    for (const slot of this.slots) {
      this.#checkLocks(slot);
      if (slot.device.migration && !slot.device.migration.stateMutex.owner) await this.#checkMigration(slot);
    }
  }

  #checkLocks({ device }: Slot): void {
    const { set, deviceLock, memoryLock, migration, dma, irqs } = device;
    for (const lock of [set.lock, migration?.stateMutex, dma.mmapLock, memoryLock, deviceLock, irqs.igate]) {
      const [holder] = lock?.holders() ?? [];
      if (holder)
        this.violate("no-crash", `${device.name}: ${holder.name} has left ${lock!.className} locked`);
    }
  }

  async #checkMigration(slot: Slot): Promise<void> {
    const { card, device } = slot;
    const migration = device.migration!;
    const state = await this.getState(slot, this.task);
    const { mode, by, resets } = card.hardware;
    const [reads, is] = [migrationStateName(state), migrationStateName(mode)];
    if (state !== mode && by !== "arc") {
      this.violate(
        "reset-complete",
        `${card.name}: the device was reset, and at the end the state reads ${reads}`,
      );
    } else if (state !== mode && !this.#overtaken(card)) {
      this.#undone(card, `the device is ${is}, and the state reads ${reads}`);
    } else if (state !== mode) {
      this.violate(
        "no-resurrection",
        `${card.name}: at the end the device is ${is}, and the state reads ${reads}`,
      );
    }
    if (migration.sessionOpen && card.sessionAt < resets)
      this.violate("reset-complete", `${card.name}: at the end the old session is open`);
    if (card.migrationOps?.migrationResetState && resets > this.#before.get(card)! && card.cleanedAt < resets)
      this.violate("reset-complete", `${card.name}: its driver was never asked to clean up after the reset`);
    if (
      by === "arc" &&
      state === mode &&
      hasSession(mode) &&
      !migration.sessionOpen &&
      !this.#overtaken(card)
    )
      this.#undone(card, `in ${is}, the session is closed`);
  }

  #returnedOf(card: Card): readonly { resets: number }[] {
    return this.#resetBy.filter((reset) => reset.card === card && reset.returned);
  }

  /** A reset came, or had not returned, after the transition that brought the device where it is had been asked for. */
  #overtaken(card: Card): boolean {
    const { resets, arcAfter } = card.hardware;
    return resets > arcAfter;
  }

  /** What a transition had done is gone, without a reset since. */
  #undone(card: Card, text: string): void {
    if (this.leaves) return;
    const before = this.#before.get(card) ?? card.hardware.resets;
    const invariant = card.hardware.resets > before ? "no-lost-update" : "no-spurious-reset";
    this.violate(invariant, `${card.name}: ${text}`);
  }

  // What the cards tell.

  async step(label: string): Promise<void> {
    await this.#x?.step(label);
  }

  wasReset(card: Card, signal: AbortSignal | undefined): void {
    this.#resetBy.push({ card, signal, resets: card.hardware.resets, returned: false });
  }

  resurrected(card: Card, arc: string): void {
    this.violate("no-resurrection", `${card.name}: ${arc} goes on after the reset that overtook it`);
  }

  returnedBefore(card: Card): number {
    const { migration } = this.slots.find((slot) => slot.card === card)!.device;
    const owner = unseen(() => migration!.stateMutex.owner);
    return (owner && this.#transitions.get(owner)) ?? card.hardware.resets;
  }

  migrationReset(card: Card): void {
    const { migration } = this.slots.find((slot) => slot.card === card)!.device;
    const caller = unseen(() => migration!.stateMutex.owner);
    for (const { device } of this.slots) {
      if (caller && unseen(() => device.memoryLock.isHeldBy(caller)))
        this.violate(
          "no-cycle",
          `${card.name}: migrationResetState is called under ${device.name}'s memoryLock`,
        );
    }
    if (!caller) this.violate("no-crash", `${card.name}: migrationResetState is called without stateMutex`);
    if (card.hardware.by === "arc" && !this.#overtaken(card))
      this.#undone(card, "its migration is reset, though no reset came since it was begun");
  }

  transferred(card: Card, since: number): void {
    const opened = card.hardware.resets - since;
    if (this.#returnedOf(card).some(({ resets }) => resets > opened))
      this.violate("reset-complete", `${card.name}: after a reset has returned, its old session moves data`);
  }

  overlapped(card: Card, what: string): void {
    this.violate("no-crash", `${card.name}: ${what}`);
  }
}

export const BUFFER_AT = 0x2000_0000n;
export const BAR_AT = 0x1000_0000n;

const nothing = (): void => undefined;
