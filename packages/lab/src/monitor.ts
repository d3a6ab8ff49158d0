import { errnoName, errnoOf, type VfioError } from "@vfiokit/core";
import { MigrationState, migrationStateName } from "@vfiokit/core/migration";
import { hasSession, migrationOf } from "@vfiokit/core/lab";
import type { Exploration } from "@vfiokit/explore";
import type { Task } from "@vfiokit/lockdep";
import { unseen } from "@vfiokit/lockdep/hooks";
import type { Slot } from "./bench.js";
import type { Card, CardObserver } from "./card.js";
import type { Design } from "./design.js";
import type { Invariant, Violation } from "./invariants.js";
import type { LockEvent } from "./recorder.js";

const { RUNNING } = MigrationState;

/** What somebody did or saw, for a person who reads a counterexample. */
export interface Note {
  /** Events that were over by then. */
  readonly after: number;
  readonly text: string;
  readonly task: string | undefined;
  readonly lock: LockEvent | undefined;
}

/** Sees what the cards of one execution do and what their clients are told, and says what of it is wrong. */
export class Monitor implements CardObserver {
  readonly violations: Violation[] = [];
  readonly notes: Note[] = [];
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
    private readonly design: Design,
    private readonly slots: readonly Slot[],
  ) {}

  /** From here on it is looked at: what setting up had to do is not. */
  begin(x: Exploration): void {
    for (const { card } of this.slots) this.#before.set(card, card.hardware.resets);
    x.invariant(() => {
      this.events++;
    });
    this.notes.length = 0;
    this.violations.length = 0;
    this.#x = x;
  }

  // What tasks do.

  /** The task asks for a transition. */
  asksForTransition(card: Card, task: Task): void {
    this.#transitions.set(task, this.#returnedOf(card).length + (this.#before.get(card) ?? 0));
  }

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
    const state = await this.#stateOf(slot, task);
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
  async atEnd(task: Task): Promise<void> {
    this.#x = undefined;
    for (const slot of this.slots) {
      this.#checkLocks(slot);
      if (slot.device.migration && !slot.device.migration.stateMutex.owner)
        await this.#checkMigration(slot, task);
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

  async #checkMigration(slot: Slot, task: Task): Promise<void> {
    const { card, device } = slot;
    const migration = device.migration!;
    const state = await this.#stateOf(slot, task);
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

  /** As a client is told it. */
  #stateOf({ device }: Slot, task: Task): MigrationState | Promise<MigrationState> {
    return this.design.getState(migrationOf(device)!, task);
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
