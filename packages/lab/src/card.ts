import { Shared } from "@vfiokit/lockdep";
import {
  VfioError,
  af,
  definePciDevice,
  express,
  memory,
  mmio,
  pm,
  type FunctionHost,
  type PciDeviceDefinition,
  type PciFunction,
} from "@vfiokit/core";
import {
  MigrationFlags,
  MigrationState,
  migrationStateName,
  type MigrationOps,
  type SessionData,
} from "@vfiokit/core/migration";
import { hasSession } from "@vfiokit/core/lab";

const { RUNNING, ERROR, RESUMING } = MigrationState;

export const BAR_REGISTERS = 0;
export const BAR_MEMORY = 2;

/** Which of the migration ops a driver has: all, all but migrationResetState, or none. */
export type Ops = "present" | "partial" | "absent";

/** What the laboratory hears from a card. */
export interface CardObserver {
  /** Another task could run here, while the device works. */
  step(label: string): Promise<void>;
  note(text: string): void;
  /** An arc that began before a reset has had an effect after it. */
  resurrected(card: Card, what: string): void;
  /** The device was reset by whoever has this signal. */
  wasReset(card: Card, signal: AbortSignal | undefined): void;
  /** The driver's migration is reset. */
  migrationReset(card: Card): void;
  /** How many of the device's resets had returned when the transition under way was asked for. */
  returnedBefore(card: Card): number;
  /** A session that was opened `since` resets ago is read or written. */
  transferred(card: Card, since: number): void;
  /** Two of the driver's ops at a time. */
  overlapped(card: Card, op: string): void;
}

/** The device itself, as opposed to what its driver believes. */
export interface Hardware {
  /** What it is doing. */
  readonly mode: MigrationState;
  /** Who brought it there. */
  readonly by: "reset" | "arc" | "op";
  /** How many resets it has gone through. */
  readonly resets: number;
  /** How many of them had returned before the transition began whose arc took effect last. */
  readonly arcAfter: number;
}

/**
 * A function with its driver and every migration state. Whatever takes time can be overtaken: arcs, transfers, the
 * op, resets. It does nothing of its own once the signal that it was given has aborted.
 */
export class Card implements PciFunction {
  readonly #hardware = new Shared<Hardware>("hardware", {
    mode: RUNNING,
    by: "reset",
    resets: 0,
    arcAfter: 0,
  });
  /** Its reset does not work. */
  resetFails = false;
  /** Its arcs fail, and leave it in ERROR. */
  arcsFail = false;
  /** `resets` when the last session was opened. */
  sessionAt = 0;
  /** `resets` when migrationResetState was called last. */
  cleanedAt = 0;
  #op: string | undefined;
  readonly migrationOps?: MigrationOps;

  constructor(
    readonly name: string,
    private readonly observer: CardObserver,
    ops: Ops,
  ) {
    if (ops !== "absent") this.migrationOps = this.#ops(ops);
  }

  get hardware(): Hardware {
    return this.#hardware.value;
  }

  /** Something that has no variable of its own in the model was used: it does not commute with what else is done. */
  touch(): void {
    const { value } = this.#hardware;
    this.#hardware.value = value;
  }

  read(): number {
    this.touch();
    return this.hardware.resets;
  }

  write(): void {
    this.touch();
  }

  run(): void {
    this.touch();
  }

  async reset(signal?: AbortSignal): Promise<void> {
    await this.observer.step(`${this.name}: the function is being reset`);
    if (this.resetFails) {
      this.observer.note(`${this.name}: its reset fails`);
      throw new Error("the function did not come back");
    }
    const { hardware } = this;
    this.#hardware.value = { ...hardware, mode: RUNNING, by: "reset", resets: hardware.resets + 1 };
    this.observer.wasReset(this, signal);
    this.observer.note(`${this.name}: the device is reset`);
  }

  #ops(ops: Ops): MigrationOps {
    return {
      flags: MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY,
      migrationSetState: (from, to, signal) =>
        this.#exclusive("migrationSetState", () => this.#arc(from, to, signal)),
      migrationGetState: () => this.hardware.mode,
      migrationGetDataSize: () => 4,
      ...(ops === "present" && {
        migrationResetState: () => this.#exclusive("migrationResetState", () => this.#resetMigration()),
      }),
    };
  }

  async #exclusive<T>(op: string, run: () => Promise<T>): Promise<T> {
    if (this.#op) this.observer.overlapped(this, `${op} during ${this.#op}`);
    this.#op = op;
    try {
      return await run();
    } finally {
      this.#op = undefined;
    }
  }

  async #arc(
    from: MigrationState,
    to: MigrationState,
    signal: AbortSignal,
  ): Promise<SessionData | undefined> {
    const name = `${migrationStateName(from)} -> ${migrationStateName(to)}`;
    const begun = this.hardware.resets;
    const touch = (): void => this.touch();
    signal.addEventListener("abort", touch);
    try {
      await this.observer.step(`${this.name}: the driver works on ${name}`);
    } finally {
      signal.removeEventListener("abort", touch); // Node keeps a combined signal for as long as somebody listens
    }
    const { hardware } = this;
    signal.throwIfAborted();
    if (hardware.resets !== begun) this.observer.resurrected(this, name);
    this.#hardware.value = {
      ...hardware,
      mode: this.arcsFail ? ERROR : to,
      by: "arc",
      arcAfter: this.observer.returnedBefore(this),
    };
    if (this.arcsFail) {
      this.observer.note(`${this.name}: ${name} fails`);
      throw new VfioError("EIO", `${name}: the firmware has crashed`);
    }
    this.observer.note(`${this.name}: the device does ${name}`);
    await this.observer.step(`${this.name}: the driver hears that ${name} is done`);
    if (!hasSession(to) || hasSession(from)) return undefined;
    this.sessionAt = hardware.resets;
    return this.#session(to, hardware.resets);
  }

  /** @param opened the resets that the device had gone through when it gave its image */
  #session(state: MigrationState, opened: number): SessionData {
    const transfer = async (what: string): Promise<void> => {
      this.observer.transferred(this, this.hardware.resets - opened);
      await this.observer.step(`${this.name}: the session is ${what}`);
    };
    if (state === RESUMING) return { write: () => transfer("written") };
    return { read: (into) => transfer("read").then(() => into.length) };
  }

  async #resetMigration(): Promise<void> {
    this.cleanedAt = this.hardware.resets;
    this.observer.migrationReset(this);
    await this.observer.step(`${this.name}: migrationResetState`);
    const now = this.hardware;
    this.#hardware.value = { ...now, mode: RUNNING, by: now.by === "arc" ? "op" : now.by };
    this.observer.note(`${this.name}: its migration is reset`);
  }
}

/** @param made gets the card that the device is made of */
export function cardDefinition(
  observer: CardObserver,
  ops: Ops,
  made: (card: Card) => void,
): PciDeviceDefinition {
  return definePciDevice({
    name: "card",
    id: { vendor: 0x1b36, device: 0x0103, classCode: 0x088000 },
    bars: [mmio({ size: 0x1000, slot: BAR_REGISTERS }), memory({ size: 0x1000, slot: BAR_MEMORY })],
    interruptPin: "A",
    capabilities: [pm({ noSoftReset: false }), express({ flr: true }), af()],
    create: (host: FunctionHost) => {
      const card = new Card(host.name, observer, ops);
      made(card);
      return card;
    },
  });
}
