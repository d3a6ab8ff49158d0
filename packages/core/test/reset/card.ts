import { Task, type Lock } from "@vfiokit/lockdep";
import {
  IrqIndex,
  PciDevice,
  RegionIndex,
  af,
  definePciDevice,
  express,
  memory,
  mmio,
  pm,
  type DeviceSet,
  type FunctionHost,
  type PciDeviceOptions,
  type PciFunction,
} from "@vfiokit/core";
import { PciAf, PciAfCtrl, PciCommand, PciExp, PciExpDevctl, PciHeader, PciPm } from "@vfiokit/core/pci";
import { MigrationFlags, MigrationState, type MigrationOps, type SessionData } from "@vfiokit/core/migration";
import type { BarMapping } from "@vfiokit/core/lab";
import { CountingTrigger } from "../irq/trigger.js";

const { RUNNING, STOP, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P, ERROR } = MigrationState;

export const BAR_REGISTERS = 0;
export const BAR_MEMORY = 2;
export const CONFIG = RegionIndex.CONFIG;

export const allFlags = MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY;

/** Which of the migration ops a driver has: all, none, or all but migrationResetState. */
export type Ops = "present" | "partial" | "absent";

/** Every place where the core calls a driver. */
export type DriverCall =
  | "reset"
  | "stop"
  | "run"
  | "close"
  | "migrationSetState"
  | "migrationGetState"
  | "migrationGetDataSize"
  | "migrationResetState"
  | "session.read"
  | "session.write";

/**
 * A function and its driver with every migration state, whose every call can be made to fail, hang or come late. It
 * does nothing of its own after the signal that it was given has aborted, and notes when it was asked to.
 */
export class Card implements PciFunction {
  /** What the core called, in order: "reset", "setState STOP->RUNNING" ... */
  readonly calls: string[] = [];
  /** Called before anything else in each call; what it returns is awaited where the core can wait. */
  hook: (call: DriverCall, signal?: AbortSignal) => void | Promise<void> = () => undefined;
  /** What migrationGetState answers: by default where the last finished arc led. */
  reported: number | undefined;
  /** Where the hardware is, as the driver sees it. */
  at: MigrationState = RUNNING;
  value = 0;
  readonly migrationOps?: MigrationOps;

  constructor(
    readonly host: FunctionHost,
    ops: Ops,
  ) {
    const { present, partial } = this.#ops();
    if (ops !== "absent") this.migrationOps = ops === "present" ? present : partial;
  }

  read(_bar: number, offset: number): number {
    return offset === 0 ? this.value : 0;
  }

  write(_bar: number, offset: number, value: number): void {
    if (offset === 0) this.value = value;
  }

  reset(signal?: AbortSignal): void | Promise<void> {
    this.calls.push("reset");
    const done = (): void => {
      this.value = 0;
    };
    const waiting = this.hook("reset", signal);
    if (waiting) return waiting.then(done);
    done();
  }

  stop(): void {
    this.calls.push("stop");
    void this.hook("stop");
  }

  run(): void {
    this.calls.push("run");
    void this.hook("run");
  }

  close(): void {
    this.calls.push("close");
    void this.hook("close");
  }

  #ops(): { present: MigrationOps; partial: MigrationOps } {
    const partial: MigrationOps = {
      flags: allFlags,
      migrationSetState: async (from, to, signal) => {
        this.calls.push(`${MigrationStateNames[from]}->${MigrationStateNames[to]}`);
        await this.hook("migrationSetState", signal);
        this.at = to;
        return this.#session(from, to);
      },
      migrationGetState: () => {
        this.calls.push("getState");
        void this.hook("migrationGetState");
        return (this.reported ?? this.at) as MigrationState;
      },
      migrationGetDataSize: () => {
        void this.hook("migrationGetDataSize");
        return 4;
      },
    };
    const present: MigrationOps = {
      ...partial,
      migrationResetState: async (signal) => {
        this.calls.push("resetState");
        await this.hook("migrationResetState", signal);
        this.at = RUNNING;
      },
    };
    return { present, partial };
  }

  #session(from: MigrationState, to: MigrationState): SessionData | undefined {
    if (!sessionStates.includes(to) || sessionStates.includes(from)) return undefined;
    if (to === RESUMING) {
      return {
        write: (_from, task) => {
          this.calls.push("session.write");
          return this.hook("session.write", task.signal);
        },
      };
    }
    return {
      read: (into, task) => {
        this.calls.push("session.read");
        const waiting = this.hook("session.read", task.signal);
        return waiting ? waiting.then(() => into.length) : into.length;
      },
    };
  }
}

const MigrationStateNames = Object.keys(MigrationState);

export function cardDefinition(options: { ops?: Ops; noSoftReset?: boolean } = {}) {
  const made: Card[] = [];
  const definition = definePciDevice({
    name: "card",
    id: { vendor: 0x1b36, device: 0x0103, classCode: 0x088000 },
    bars: [mmio({ size: 0x1000, slot: BAR_REGISTERS }), memory({ size: 0x1000, slot: BAR_MEMORY })],
    interruptPin: "A",
    capabilities: [pm({ noSoftReset: options.noSoftReset ?? false }), express({ flr: true }), af()],
    create: (host) => {
      const card = new Card(host, options.ops ?? "present");
      made.push(card);
      return card;
    },
  });
  return { definition, made };
}

export const MAP_AT = 0x10000n;
/** What software wrote to Interrupt Line, which is 0 after power-on: tells whether configuration space was reset. */
export const SENTINEL = 0x5a;

/** A card in use: memory enabled, a BAR faulted in, a DMA map, an interrupt trigger, and configuration software wrote. */
export class Bench {
  readonly task = new Task("client");
  readonly device: PciDevice;
  readonly card: Card;
  readonly trigger = new CountingTrigger();
  readonly mapping: BarMapping;

  constructor(options: PciDeviceOptions & { ops?: Ops; noSoftReset?: boolean } = {}) {
    const { definition, made } = cardDefinition(options);
    this.device = new PciDevice(definition, { resetStateOp: "off", ...options });
    this.card = made[0]!;
    this.mapping = this.device.mapBar(BAR_MEMORY);
  }

  /** As a client does at its start. Does not open the device: not every test wants the reset that this includes. */
  async use(): Promise<void> {
    const { device, task } = this;
    await this.writeConfig(PciHeader.COMMAND, PciCommand.MEMORY, 2);
    await this.writeConfig(PciHeader.INTERRUPT_LINE, SENTINEL, 1);
    await this.mapping.fault(task);
    await device.dma.map(task, {
      address: MAP_AT,
      size: 0x1000n,
      readable: true,
      writable: true,
      backing: {
        bytes: new Uint8Array(0x1000),
        read: () => undefined,
        write: () => undefined,
        release: () => undefined,
      },
    });
    await device.setIrqs(task, {
      index: IrqIndex.INTX,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [this.trigger] },
    });
    this.card.calls.length = 0;
  }

  async writeConfig(offset: number, value: number, size: 1 | 2, task = this.task): Promise<void> {
    await this.device.writeRegion(task, CONFIG, offset, size, Uint8Array.of(value & 0xff, value >> 8), 0);
  }

  readConfig(offset: number): number {
    return this.device.config.get8(offset);
  }

  powerState(state: number, task = this.task): Promise<void> {
    return this.writeConfig(this.device.capabilities.pm!.offset + PciPm.CTRL, state, 2, task);
  }

  flrPcie(task = this.task): Promise<void> {
    const { express: cap } = this.device.capabilities;
    return this.writeConfig(cap!.offset + PciExp.DEVCTL, PciExpDevctl.BCR_FLR, 2, task);
  }

  flrAf(task = this.task): Promise<void> {
    return this.writeConfig(this.device.capabilities.af!.offset + PciAf.CTRL, PciAfCtrl.FLR, 1, task);
  }

  /** By real arcs; to ERROR by one that fails and leaves the device there. */
  async reach(state: MigrationState): Promise<void> {
    const migration = this.device.migration!;
    if (state !== ERROR) {
      await migration.setState(this.task, state);
      return;
    }
    await migration.setState(this.task, STOP_COPY);
    this.card.reported = ERROR;
    const { hook } = this.card;
    this.card.hook = (call) => {
      if (call === "migrationSetState") throw new Error("the firmware has crashed");
    };
    await migration.setState(this.task, STOP).catch(() => undefined);
    this.card.hook = hook;
    this.card.reported = undefined;
  }

  get configIs(): "power-on" | "untouched" | "other" {
    const line = this.readConfig(PciHeader.INTERRUPT_LINE);
    const memory = (this.readConfig(PciHeader.COMMAND) & PciCommand.MEMORY) !== 0;
    if (line === 0 && !memory) return "power-on";
    return line === SENTINEL && memory ? "untouched" : "other";
  }

  get clientIs(): "kept" | "dropped" | "other" {
    const maps = this.device.dma.mapCount;
    if (maps === 1 && this.trigger.closed === 0) return "kept";
    return maps === 0 && this.trigger.closed === 1 ? "dropped" : "other";
  }
}

/** Every lock of the functions that somebody holds, by class; those of `state` and `session` excepted where told. */
export function heldLocks(...devices: readonly PciDevice[]): string[] {
  const locks: Lock[] = [];
  for (const { set, deviceLock, memoryLock, migration, dma, irqs } of devices) {
    for (const lock of [set.lock, migration?.stateMutex, dma.mmapLock, memoryLock, deviceLock, irqs.igate])
      if (lock && !locks.includes(lock)) locks.push(lock);
  }
  return locks.filter((lock) => lock.holders().length > 0).map((lock) => lock.className);
}

/** The states that have a data session. */
export const sessionStates: readonly MigrationState[] = [STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P];
/** All of them, in the uAPI's order. */
export const allStates: readonly MigrationState[] = [
  ERROR,
  STOP,
  RUNNING,
  STOP_COPY,
  RESUMING,
  RUNNING_P2P,
  PRE_COPY,
  PRE_COPY_P2P,
];

export type { DeviceSet };
