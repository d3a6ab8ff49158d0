import { isSaving, MigrationFlags, MigrationState } from "./fsm.js";
import type { MigratedDevice } from "./machine.js";
import type { MigrationOps, StreamLayout } from "./ops.js";
import { PrecopyWriter, type PrecopyInfo } from "./precopy-writer.js";
import type { StateSections } from "./sections.js";
import type { SessionData } from "./session.js";
import { STREAM_FORMAT } from "./stream-format.js";
import {
  STREAM_ID_SIZE,
  StreamReader,
  StreamWriter,
  type DeviceIdentity,
  type StreamOrigin,
} from "./stream.js";

/** What a migration does to the function itself. Both do nothing when it is so already. */
export interface MigratingDevice extends MigratedDevice {
  /** @internal */
  stopFunction(): void;
  /** @internal */
  runFunction(): void;
}

const { STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P, ERROR } = MigrationState;

/**
 * Migration of a device that declares its state as sections: what `PciDevice` uses.
 *
 * In the P2P states the function is stopped, as in STOP: it then initiates no transaction at all, which is what the
 * VFIO uAPI asks of a device that cannot tell peers from other memory.
 */
export class SectionMigration implements MigrationOps {
  readonly flags = MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY;
  readonly #streamId = crypto.getRandomValues(new Uint8Array(STREAM_ID_SIZE));
  /** After the last arc, or before the one that failed. */
  #state: MigrationState = RUNNING;
  /** Of the RESUMING session. */
  #reader: StreamReader | undefined;
  /** Of a session that began in STOP_COPY. */
  #writer: StreamWriter | undefined;
  /** Of a session that began in PRE_COPY. */
  #precopy: PrecopyWriter | undefined;

  constructor(
    private readonly device: MigratingDevice,
    private readonly identity: DeviceIdentity,
    private readonly state: StateSections,
  ) {}

  migrationSetState(from: MigrationState, to: MigrationState): SessionData | undefined {
    this.#state = from;
    const session = this.#arc(from, to);
    if (isSaving(from) && !isSaving(to)) this.#endSaving();
    this.#state = to;
    return session;
  }

  /** A refused image leaves the device in RESUMING and untouched, but if some of it is in the device's memory. */
  migrationGetState(): MigrationState {
    return this.migrationImageStarted() ? ERROR : this.#state;
  }

  migrationImageStarted(): boolean {
    return this.#reader?.touchedMemory ?? false;
  }

  migrationGetDataSize(): number {
    if (this.#precopy) return this.#precopy.remaining(() => this.state.save());
    return this.#writer?.remaining ?? new StreamWriter(this.#origin(), this.state.save()).size;
  }

  migrationGetPrecopyInfo(): PrecopyInfo {
    return this.#precopy!.takeInfo();
  }

  migrationGetLayout(): StreamLayout {
    return { format: STREAM_FORMAT, sections: this.state.declared ?? [] };
  }

  migrationResetState(): void {
    this.#reader = undefined;
    this.#endSaving();
    this.device.runFunction();
  }

  #arc(from: MigrationState, to: MigrationState): SessionData | undefined {
    switch (to) {
      case RUNNING:
        this.device.runFunction();
        return undefined;
      case RUNNING_P2P:
        this.device.stopFunction();
        return undefined;
      case STOP:
        this.device.stopFunction();
        if (from === RESUMING) this.#load();
        return undefined;
      case PRE_COPY:
        if (from === RUNNING) return this.#beginPrecopy();
        this.device.runFunction();
        return undefined;
      case PRE_COPY_P2P:
        if (from === RUNNING_P2P) return this.#beginPrecopy();
        this.device.stopFunction();
        return undefined;
      case STOP_COPY:
        this.device.stopFunction();
        if (!this.#precopy) return this.#save();
        this.#precopy.finish(this.state.save());
        return undefined;
      case RESUMING:
        return this.#receive();
      default:
        // nextState leads only through the states that `flags` name, and never to ERROR.
        throw new Error(`migration state ${to}: not one that this device has`);
    }
  }

  #beginPrecopy(): SessionData {
    const writer = new PrecopyWriter(this.#origin(), this.state.memories ?? new Map());
    this.#precopy = writer;
    return { read: (into) => writer.read(into) };
  }

  #save(): SessionData {
    const writer = new StreamWriter(this.#origin(), this.state.save());
    this.#writer = writer;
    return { read: (into) => writer.read(into) };
  }

  #endSaving(): void {
    this.#precopy?.close();
    this.#precopy = undefined;
    this.#writer = undefined;
  }

  #receive(): SessionData {
    const { memories = new Map() } = this.state;
    const reader = new StreamReader(this.identity, { memories });
    this.#reader = reader;
    return { write: (from) => reader.push(from) };
  }

  /** Decodes and checks everything before anything but memory changes. */
  #load(): void {
    const commit = this.state.prepare(this.#reader!.finish());
    commit();
    this.#reader = undefined;
  }

  #origin(): StreamOrigin {
    const { identity, device } = this;
    return { identity, streamId: this.#streamId, generation: device.generation };
  }
}
