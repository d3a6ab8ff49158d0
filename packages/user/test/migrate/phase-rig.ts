import {
  af,
  definePciDevice,
  DeviceSet,
  express,
  memory,
  PciDevice,
  pm,
  RegionIndex,
  sections,
  TrackedMemory,
  trackedMemory,
  u32,
  VfioError,
  type FunctionHost,
  type IdlePower,
  type PciFunction,
} from "@vfiokit/core";
import { PciAf, PciAfCtrl, PciExp, PciExpDevctl, PciPm, PowerState } from "@vfiokit/core/pci";
import { migrationStateName } from "@vfiokit/core/migration";
import type { ResetInitiator } from "@vfiokit/core/lab";
import { Task } from "@vfiokit/lockdep";
import {
  AdminServer,
  DeviceAdmin,
  LocalSource,
  LocalTarget,
  VfioUserClient,
  VfioUserServer,
} from "@vfiokit/user";
import { HandOverControl } from "../../src/migrate/hand-over-control.js";
import { LocalEnd } from "../../src/migrate/local-end.js";

const BAR_MEMORY = 0;
const PAGE = 4096;
const DISK_PAGES = 12;
/** Sent when the device has stopped: several chunks, so that stop-copy has a middle. */
const RAM_PAGES = 8;
/** A chunk of the migration, at the most. */
const CHUNK = 2 * PAGE;

/** A device with a register, memory that is sent while it runs, and memory that is sent when it has stopped. */
class Box implements PciFunction {
  value = 0;
  running = true;
  failReset = false;
  readonly disk = new TrackedMemory(DISK_PAGES * PAGE);
  readonly ram: Uint8Array;

  constructor(host: FunctionHost) {
    this.ram = host.memory(BAR_MEMORY);
  }

  reset(): void {
    if (this.failReset) throw new VfioError("EIO", "the firmware does not answer");
    this.value = 0;
    this.disk.clear();
    this.ram.fill(0);
  }

  stop(): void {
    this.running = false;
  }

  run(): void {
    this.running = true;
  }

  /** As a guest uses it: each time, all of it has other content. */
  use(value: number): void {
    this.value = value;
    for (let page = 0; page < DISK_PAGES; page += 3) this.disk.fill(value, page * PAGE, (page + 1) * PAGE);
    this.ram.fill(value);
  }

  /** All that migrates. */
  content(): string {
    return `${this.value}/${this.disk.bytes.reduce((sum, byte) => sum + byte, 0)}/${this.ram.reduce((sum, byte) => sum + byte, 0)}`;
  }

  readonly state = sections({
    value: u32(
      () => this.value,
      (value) => (this.value = value),
    ),
    disk: trackedMemory(this.disk),
  });
}

/** How an initiator resets a card. */
interface Path {
  readonly functions?: number;
  readonly idlePower?: IdlePower;
  /** Before the migration. */
  before?(card: Card): Promise<void>;
  reset(card: Card): Promise<void>;
}

/** One entry an initiator: a new one does not compile until it is here. */
export const paths: Readonly<Record<ResetInitiator, Path>> = {
  ioctl: { reset: ({ device, task }) => device.reset(task) },
  "flr-pcie": {
    reset: (card) =>
      card.writeConfig(card.device.capabilities.express!.offset + PciExp.DEVCTL, PciExpDevctl.BCR_FLR, 2),
  },
  "flr-af": {
    reset: (card) => card.writeConfig(card.device.capabilities.af!.offset + PciAf.CTRL, PciAfCtrl.FLR, 1),
  },
  "power-on": {
    reset: async (card) => {
      const control = card.device.capabilities.pm!.offset + PciPm.CTRL;
      await card.writeConfig(control, PowerState.D3HOT, 2);
      await card.writeConfig(control, PowerState.D0, 2);
    },
  },
  "hot-reset": {
    functions: 2,
    reset: ({ device: { set }, task }) => set.hotReset(task, new Set(set.devices)),
  },
  // The server has the device open while a client is there, so these come between clients only: here, whenever.
  enable: { reset: ({ device, task }) => device.reset(task, "enable") },
  disable: { reset: ({ device, task }) => device.reset(task, "disable") },
  "last-close": { functions: 2, reset: ({ device, task }) => device.reset(task, "last-close") },
  sysfs: { reset: ({ device, task }) => device.reset(task, "sysfs") },
  "slot-reset": { reset: ({ device, task }) => device.reset(task, "slot-reset") },
  "runtime-resume": {
    idlePower: "D3cold",
    before: ({ device, task }) => device.openDevice(task),
    reset: async ({ device, task }) => {
      await device.runtimePm.lowPowerEntry(task);
      await device.runtimePm.lowPowerExit(task);
    },
  },
  // The migration client's own connection breaks. Of what is not loaded, and not in ERROR, that is no reset.
  disconnect: { reset: (card) => card.hangUp() },
};

/** A served card with what the migration client has of it. */
export class Card implements AsyncDisposable {
  readonly boxes: Box[] = [];
  readonly devices: PciDevice[] = [];
  readonly task = new Task("somebody");
  readonly #server: VfioUserServer;
  readonly #admin: AdminServer;
  #client: VfioUserClient | undefined;

  private constructor(
    readonly path: string,
    private readonly how: Path,
  ) {
    const set = new DeviceSet();
    for (let i = 0; i < (how.functions ?? 1); i++) {
      const definition = definePciDevice({
        name: "box",
        id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
        bars: [memory({ size: RAM_PAGES * PAGE, slot: BAR_MEMORY })],
        capabilities: [pm({ noSoftReset: false }), express({ flr: true }), af()],
        create: (host) => {
          const box = new Box(host);
          this.boxes.push(box);
          return box;
        },
      });
      this.devices.push(new PciDevice(definition, { set, idlePower: how.idlePower ?? "D0" }));
    }
    this.#server = new VfioUserServer(this.device, { socketPath: path, maxDataXferSize: CHUNK });
    this.#admin = new AdminServer(new DeviceAdmin(this.device, this.#server), { socketPath: `${path}.ctl` });
  }

  static async serve(path: string, initiator: ResetInitiator): Promise<Card> {
    const card = new Card(path, paths[initiator]);
    await card.#server.listen();
    card.#admin.listen();
    await card.how.before?.(card);
    return card;
  }

  get device(): PciDevice {
    return this.devices[0]!;
  }

  get box(): Box {
    return this.boxes[0]!;
  }

  /** "STOP, given": what an administrator sees of it. */
  get state(): string {
    const { phase } = this.device.handOver!.status();
    return [migrationStateName(this.device.migration!.state), ...(phase === "none" ? [] : [phase])].join(
      ", ",
    );
  }

  reset(): Promise<void> {
    return this.how.reset(this);
  }

  async writeConfig(offset: number, value: number, size: 1 | 2): Promise<void> {
    const bytes = Uint8Array.of(value & 0xff, value >> 8).subarray(0, size);
    await this.device.writeRegion(this.task, RegionIndex.CONFIG, offset, size, bytes, 0);
  }

  async source(): Promise<LocalSource> {
    return LocalSource.over(await this.#connect());
  }

  async target(): Promise<LocalTarget> {
    return LocalTarget.over(await this.#connect());
  }

  /** The migration client's connection to the device breaks; that to its control socket does not. */
  async hangUp(): Promise<void> {
    this.#client?.close();
    while (this.#server.connected) await new Promise((resolve) => setImmediate(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#admin.close(), this.#server.close()]);
    for (const device of this.devices) await device.close(this.task);
  }

  async #connect(): Promise<LocalEnd> {
    this.#client = await VfioUserClient.connect(this.path, { twinSocket: false, maxDataXferSize: CHUNK });
    return LocalEnd.over(this.path, this.#client, await HandOverControl.open(this.path));
  }
}
