import { MigrationFlags, MigrationState } from "./fsm.js";
import type { MigratedDevice } from "./machine.js";
import type { MigrationOps } from "./ops.js";
import type { StateSections } from "./sections.js";
import type { SessionData } from "./session.js";
import { STREAM_ID_SIZE, StreamReader, StreamWriter, type DeviceIdentity } from "./stream.js";

/** What a migration does to the function itself. Both do nothing when it is so already. */
export interface MigratingDevice extends MigratedDevice {
  stopFunction(): void;
  runFunction(): void;
}

/** Migration of a device that declares its state as sections: what `PciDevice` uses. */
export class SectionMigration implements MigrationOps {
  readonly flags = MigrationFlags.STOP_COPY;
  readonly #streamId = crypto.getRandomValues(new Uint8Array(STREAM_ID_SIZE));
  /** After the last arc, or before the one that failed. */
  #state: MigrationState = MigrationState.RUNNING;
  /** Of the RESUMING session. */
  #reader: StreamReader | undefined;

  constructor(
    private readonly device: MigratingDevice,
    private readonly identity: DeviceIdentity,
    private readonly state: StateSections,
  ) {}

  migrationSetState(from: MigrationState, to: MigrationState): SessionData | undefined {
    this.#state = from;
    const session = this.#arc(from, to);
    this.#state = to;
    return session;
  }

  /** A refused image leaves the device in RESUMING and untouched, as Linux's mtty does: nothing here ends in ERROR. */
  migrationGetState(): MigrationState {
    return this.#state;
  }

  #arc(from: MigrationState, to: MigrationState): SessionData | undefined {
    switch (to) {
      case MigrationState.STOP:
        if (from === MigrationState.RUNNING) this.device.stopFunction();
        if (from === MigrationState.RESUMING) this.#load();
        return undefined;
      case MigrationState.RUNNING:
        this.device.runFunction();
        return undefined;
      case MigrationState.STOP_COPY:
        return this.#save();
      case MigrationState.RESUMING:
        return this.#receive();
      default:
        // nextState leads only through the states that `flags` name.
        throw new Error(`migration state ${to}: not one that this device has`);
    }
  }

  migrationGetDataSize(): number {
    return this.#writer().size;
  }

  migrationResetState(): void {
    this.#reader = undefined;
    this.device.runFunction();
  }

  #save(): SessionData {
    const writer = this.#writer();
    return { read: (into) => writer.read(into) };
  }

  #receive(): SessionData {
    const reader = new StreamReader(this.identity);
    this.#reader = reader;
    return { write: (from) => reader.push(from) };
  }

  /** Decodes and checks everything before the first byte of the device changes. */
  #load(): void {
    const commit = this.state.prepare(this.#reader!.finish());
    commit();
    this.#reader = undefined;
  }

  #writer(): StreamWriter {
    const { identity, device } = this;
    return new StreamWriter(
      { identity, streamId: this.#streamId, generation: device.generation },
      this.state.save(),
    );
  }
}
