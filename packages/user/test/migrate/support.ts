import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PciDevice, RegionIndex, type PciDeviceDefinition } from "@vfiokit/core";
import { migrationStateName, type DeviceIdentity, type MigrationStateName } from "@vfiokit/core/migration";
import { memoryCard, memoryCardRegisters as Register, type MemoryCardOptions } from "@vfiokit/devices";
import { Task } from "@vfiokit/lockdep";
import {
  AdminServer,
  DeviceAdmin,
  VfioUserClient,
  VfioUserServer,
  type MigrateClock,
  type MigrateEvent,
  type MigrateOptions,
} from "@vfiokit/user";

export function scratch(): Disposable & { file(name: string): string } {
  const path = mkdtempSync(join(tmpdir(), "vfiokit-migrate-"));
  return { file: (name) => join(path, name), [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

/** A served device, as `vfiokit serve` has one, in this process. */
export class Served implements AsyncDisposable {
  readonly device: PciDevice;
  readonly #server: VfioUserServer;
  readonly #admin: AdminServer | undefined;

  private constructor(
    definition: PciDeviceDefinition,
    readonly path: string,
    control: boolean,
  ) {
    this.device = new PciDevice(definition);
    this.#server = new VfioUserServer(this.device, { socketPath: path });
    if (control)
      this.#admin = new AdminServer(new DeviceAdmin(this.device, this.#server), {
        socketPath: `${path}.ctl`,
        log: () => undefined,
      });
  }

  static async start(
    definition: PciDeviceDefinition,
    path: string,
    { control = true } = {},
  ): Promise<Served> {
    const served = new Served(definition, path, control);
    await served.#server.listen();
    served.#admin?.listen();
    return served;
  }

  get state(): MigrationStateName {
    return migrationStateName(this.device.migration!.state) as MigrationStateName;
  }

  get phase(): string {
    return this.device.handOver!.status().phase;
  }

  async reset(): Promise<void> {
    await this.device.reset(new Task("administrator"), "sysfs");
  }

  /** The server ends: everybody's connections close. */
  async end(): Promise<void> {
    await Promise.all([this.#admin?.close(), this.#server.close()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await this.device.close(new Task("end"));
  }
}

/** PCI 3.0 §6.2.2: the command register, and its bit 1: Memory Space. */
const COMMAND = 0x04;
const COMMAND_MEMORY = Uint8Array.of(0x02, 0x00);

/** BAR 0 of a memory card, through a client. */
export class MemoryCardDriver implements Disposable {
  private constructor(private readonly client: VfioUserClient) {}

  static async open(path: string): Promise<MemoryCardDriver> {
    const client = await VfioUserClient.connect(path);
    await client.regionWrite(RegionIndex.CONFIG, COMMAND, COMMAND_MEMORY);
    return new MemoryCardDriver(client);
  }

  async read(offset: number): Promise<number> {
    const bytes = new Uint8Array(4);
    await this.client.regionRead(0, offset, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  async write(offset: number, value: number): Promise<void> {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    await this.client.regionWrite(0, offset, bytes);
  }

  async fill(seed: number): Promise<void> {
    await this.write(Register.PAGE, 0);
    await this.write(Register.COUNT, await this.read(Register.SIZE));
    await this.write(Register.SEED, seed);
    await this.write(Register.COMMAND, Register.COMMAND_FILL);
    await this.done();
  }

  /** Waits for the end of a command. @returns its STATUS */
  async done(): Promise<number> {
    for (;;) {
      const status = await this.read(Register.STATUS);
      if ((status & Register.STATUS_BUSY) === 0) return status;
    }
  }

  /** The sum over its memory, once the card has found that its memory has that sum. */
  async verifiedSum(): Promise<number> {
    await this.write(Register.COMMAND, Register.COMMAND_VERIFY);
    if ((await this.done()) !== 0) throw new Error("the card's memory is not what was written to it");
    return this.read(Register.SUM);
  }

  close(): void {
    this.client.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A served memory card, filled with the pattern of `seed`. @returns its sum */
export async function fillCard(path: string, seed: number): Promise<number> {
  using driver = await MemoryCardDriver.open(path);
  await driver.fill(seed);
  return await driver.verifiedSum();
}

export async function sumOfCard(path: string): Promise<number> {
  using driver = await MemoryCardDriver.open(path);
  return await driver.verifiedSum();
}

/** Time that passes where somebody sleeps, and nowhere else. */
export class FakeClock implements MigrateClock {
  #now = 0;
  readonly sleeps: number[] = [];

  readonly now = (): number => this.#now;

  readonly sleep = (ms: number, signal: AbortSignal | undefined): Promise<void> => {
    this.sleeps.push(ms);
    this.#now += ms;
    return signal?.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve();
  };

  pass(ms: number): void {
    this.#now += ms;
  }
}

export const identity: DeviceIdentity = {
  vendor: 0x1b36,
  device: 0x0103,
  subsystemVendor: 0x1af4,
  subsystemDevice: 0x1100,
  classCode: 0x058000,
  revision: 1,
};

/** What is usual, and what an event says. */
export const usual: MigrateOptions = { maxDowntime_ms: 300, maxRounds: 30 };

export function recorder(): {
  readonly events: MigrateEvent[];
  readonly onEvent: (event: MigrateEvent) => void;
  readonly of: <E extends MigrateEvent["event"]>(event: E) => Extract<MigrateEvent, { event: E }>[];
} {
  const events: MigrateEvent[] = [];
  return {
    events,
    onEvent: (event) => events.push(event),
    of: <E extends MigrateEvent["event"]>(event: E) =>
      events.filter((one): one is Extract<MigrateEvent, { event: E }> => one.event === event),
  };
}

export const smallCard = (options: MemoryCardOptions = {}): PciDeviceDefinition =>
  memoryCard({ size: 256 * 1024, ...options });
