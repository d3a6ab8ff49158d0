import type { DmaAddressSpace } from "../dma/address-space.js";
import type { MigrationOps } from "../migration/ops.js";
import type { StateSections } from "../migration/sections.js";

/** A level-triggered interrupt line (INTx): stays asserted until it is lowered. */
export interface InterruptLine {
  raise(): void;
  lower(): void;
  /** `raise` or `lower` by a condition: `line.set(pending !== 0)`. */
  set(asserted: boolean): void;
}

/** Message-signalled interrupts: each `raise` is one edge. A masked vector stays pending and fires on unmask. */
export interface InterruptMessages {
  /** The client uses these: a device that has several kinds sends them instead of INTx (PCIe 6.0 §6.1.4). */
  readonly enabled: boolean;
  raise(vector: number): void;
}

/** What the core gives a device. */
export interface FunctionHost {
  readonly name: string;
  readonly intx: InterruptLine;
  readonly msi: InterruptMessages;
  readonly msix: InterruptMessages;
  /** The client's memory. */
  readonly dma: DmaAddressSpace;
  /** The bytes of a memory-like BAR, shared with clients that map it. */
  memory(bar: number): Uint8Array;
  /**
   * Wraps what a timer, a promise or another end calls. What `callback` throws, or rejects with, is then a fault of
   * this device, counted and logged as `what`. Without it, it is an uncaught exception of the process.
   */
  guard<A extends unknown[]>(
    what: string,
    callback: (...args: A) => void | Promise<void>,
  ): (...args: A) => void;
}

/**
 * What a device author implements. `read` and `write` come one at a time, under the device's memoryLock held for
 * reading. `reset` comes under whatever its initiator holds (docs/resets.md): not every path keeps accesses away.
 */
export interface PciFunction {
  /** A register read of `size` bytes (1, 2 or 4): an unsigned number. Omit it if no BAR needs a handler. */
  read?(bar: number, offset: number, size: number): number;
  /** A register write of `size` bytes (1, 2 or 4): an unsigned number. */
  write?(bar: number, offset: number, value: number, size: number): void;
  /**
   * Puts the device's registers at their power-on values. A device that was stopped is started again by `run`
   * afterwards. If it throws, or rejects, the reset did not happen. One that waits ends when `signal` aborts: the
   * task that asked for it was cancelled. Registers change in its last step: a migration is cut off when it resolves.
   */
  reset(signal?: AbortSignal): void | Promise<void>;
  /** What migrates. A device with neither this nor `migrationOps` cannot be migrated. */
  readonly state?: StateSections;
  /** For a device that moves its image in its own way. */
  readonly migrationOps?: MigrationOps;
  /** STOP: start nothing more. Registers can still be read and written (VFIO uAPI: STOP). */
  stop?(): void;
  /** RUNNING again, after STOP or after a state was loaded. */
  run?(): void;
  /** The device is being taken away: release timers, files, sockets. */
  close?(): void;
}
