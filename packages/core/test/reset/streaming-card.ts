import {
  definePciDevice,
  mmio,
  express,
  sections,
  bytes,
  type FunctionHost,
  type PciFunction,
  type StateSections,
} from "@vfiokit/core";
import { MigrationFlags, MigrationState, type MigrationOps, type SessionData } from "@vfiokit/core/migration";
import { StreamReader, StreamWriter, type DeviceIdentity } from "../../src/migration/stream.js";

const { STOP, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P } = MigrationState;

export const identity: DeviceIdentity = {
  vendor: 0x1b36,
  device: 0x0104,
  subsystemVendor: 0x1b36,
  subsystemDevice: 0x0104,
  classCode: 0x088000,
  revision: 0,
};

const SIZE = 300;

/**
 * A device with pre-copy, as simple as one can be: in PRE_COPY it gives an image of the moment, and in STOP_COPY a
 * whole new one, whose BEGN tells the destination to forget the first (docs/migration-stream.md, "Starting over").
 */
export class StreamingCard implements PciFunction, MigrationOps {
  readonly migrationOps: MigrationOps = this;
  readonly flags = MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY;
  readonly contents = new Uint8Array(SIZE);
  readonly #streamId = crypto.getRandomValues(new Uint8Array(16));
  readonly #sections: StateSections = sections({
    contents: bytes(
      { length: SIZE },
      () => this.contents.slice(),
      (value) => {
        this.contents.set(value);
      },
    ),
  });
  #at: MigrationState = MigrationState.RUNNING;
  #writer: StreamWriter | undefined;
  #reader: StreamReader | undefined;

  constructor(readonly host: FunctionHost) {}

  read(_bar: number, offset: number): number {
    return this.contents[offset] ?? 0;
  }

  write(_bar: number, offset: number, value: number): void {
    this.contents[offset] = value;
  }

  reset(): void {
    this.contents.fill(0);
  }

  migrationSetState(from: MigrationState, to: MigrationState): SessionData | undefined {
    this.#at = from;
    const saving = to === PRE_COPY || to === PRE_COPY_P2P || to === STOP_COPY;
    const wasSaving = from === PRE_COPY || from === PRE_COPY_P2P || from === STOP_COPY;
    let session: SessionData | undefined;
    if (to === RESUMING) session = this.#receive();
    if (from === RESUMING && to === STOP) this.#sections.prepare(this.#reader!.finish())();
    if (saving && (!wasSaving || to === STOP_COPY)) this.#writer = this.#image();
    if (saving && !wasSaving) session = { read: (into) => this.#writer!.read(into) };
    this.#at = to;
    return session;
  }

  migrationGetState(): MigrationState {
    return this.#at;
  }

  migrationGetDataSize(): number {
    return this.#image().size;
  }

  migrationResetState(): void {
    this.#writer = undefined;
    this.#reader = undefined;
    this.#at = MigrationState.RUNNING;
  }

  #image(): StreamWriter {
    return new StreamWriter({ identity, streamId: this.#streamId, generation: 0 }, this.#sections.save());
  }

  #receive(): SessionData {
    const reader = new StreamReader(identity);
    this.#reader = reader;
    return { write: (from) => reader.push(from) };
  }
}

export function streamingCardDefinition() {
  const made: StreamingCard[] = [];
  const definition = definePciDevice({
    name: "streaming",
    id: { vendor: identity.vendor, device: identity.device, classCode: identity.classCode },
    bars: [mmio({ size: 0x1000 })],
    capabilities: [express({ flr: true })],
    create: (host) => {
      const card = new StreamingCard(host);
      made.push(card);
      return card;
    },
  });
  return { definition, made };
}
