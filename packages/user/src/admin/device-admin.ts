import { VfioError, type PciDevice } from "@vfiokit/core";
import {
  migrationStateName,
  type DeviceMigration,
  type HandOver,
  type HandOverStatus,
  type MigrationStateName,
  type StreamLayout,
} from "@vfiokit/core/migration";
import type { InjectableError } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import type {
  AdminCommand,
  AdminRequest,
  AdminResults,
  DeviceStatus,
  HandOverReport,
  HandOverRequest,
  MigrationStatus,
} from "./protocol.js";
import { listTasks, type TaskReport } from "./tasks.js";

/** What the administrator sees of whoever serves the device: a VfioUserServer, say. */
export interface ServingDevice {
  readonly connected: boolean;
  readonly tasks: readonly Task[];
}

/** What the administrator of a host does to a device, whoever its client is, and sees of it. */
export class DeviceAdmin {
  /** Operations under way. */
  readonly #tasks = new Set<Task>();

  /** @param server who serves the device, if somebody does */
  constructor(
    readonly device: PciDevice,
    private readonly server?: ServingDevice,
  ) {}

  info(): DeviceStatus {
    const { device, server } = this;
    const { vendor, device: id } = device.definition.id;
    const handOver = device.handOver?.status();
    return {
      name: device.name,
      id: `${hex4(vendor)}:${hex4(id)}`,
      connected: server?.connected ?? false,
      openCount: device.openCount,
      paused: device.paused,
      stopped: [...device.stopped],
      intxMasked: device.irqs.intx.masked,
      removed: device.removed,
      faults: device.faults,
      generation: device.generation,
      migratable: device.migration !== undefined,
      ...(handOver && { handOver: withoutReset(handOver) }),
      set: device.set.devices.map(({ name }) => name),
    };
  }

  /**
   * Resets the device (Linux: echo 1 > /sys/bus/pci/devices/…/reset).
   * @param signal ends a wait for the device's locks
   * @throws VfioError ENODEV: it was removed; what its reset threw
   */
  async reset(signal?: AbortSignal): Promise<AdminResults["reset"]> {
    await this.#run("reset", signal, (task) => this.device.reset(task, "sysfs"));
    return { generation: this.device.generation };
  }

  /**
   * Resets every function of the device's set, as the owner of them all.
   * @throws VfioError EBUSY, EAGAIN: one is in use at this moment; ENODEV; what a function's reset threw
   */
  async hotReset(signal?: AbortSignal): Promise<AdminResults["hot-reset"]> {
    const { set } = this.device;
    await this.#run("hot-reset", signal, (task) => set.hotReset(task, new Set(set.devices)));
    return { functions: set.devices.map(({ name, generation }) => ({ name, generation })) };
  }

  /** Makes the device report an error, as hardware does by AER. @throws VfioError ENODEV: it was removed */
  inject(error: InjectableError): AdminResults["inject"] {
    this.#assertPresent();
    this.device.injectError(error);
    return { error };
  }

  /** Pulls the card out. There is no way back. @throws VfioError ENODEV: it was removed already */
  async remove(signal?: AbortSignal): Promise<AdminResults["remove"]> {
    this.#assertPresent();
    await this.#run("remove", signal, (task) => this.device.removeBySurprise(task));
    return { removed: true };
  }

  /** The device begins nothing more. Its registers can still be accessed. @throws VfioError ENODEV: it was removed */
  pause(): AdminResults["pause"] {
    this.#assertPresent();
    this.device.pause();
    return { paused: this.device.paused };
  }

  /** Ends a pause. @throws VfioError ENODEV: it was removed */
  resume(): AdminResults["resume"] {
    this.#assertPresent();
    this.device.resume();
    return { paused: this.device.paused };
  }

  /** Who is at work on the device, and what they wait for. */
  tasks(): TaskReport[] {
    return listTasks(this.device, [...(this.server?.tasks ?? []), ...this.#tasks]);
  }

  /** @throws VfioError ENOTTY: the device cannot be migrated */
  migration(): MigrationStatus {
    const { migration } = this.#migratable();
    const { generation } = this.device;
    return { state: this.#state(), generation, sessionOpen: migration.sessionOpen };
  }

  /**
   * What the device's migration stream is made of.
   * @throws VfioError ENOTTY: the device cannot be migrated, or does not say
   */
  stream(): StreamLayout {
    const { layout } = this.#migratable().migration;
    if (!layout) throw new VfioError("ENOTTY", `${this.device.name} does not say what its stream is made of`);
    return layout;
  }

  /**
   * Takes a step of a hand-over, or only tells where it is. A step that has begun ends, whatever becomes of `signal`.
   * @param signal ends a wait for the device's locks
   * @throws VfioError ENOTTY: the device cannot be migrated; ENODEV: it was removed; as `HandOver` does
   */
  async handOver(request: HandOverRequest, signal?: AbortSignal): Promise<HandOverReport> {
    const { handOver } = this.#migratable();
    if (request.step !== "status") {
      const { step, id, to } = request;
      this.#assertPresent();
      await this.#run("hand-over", signal, (task) =>
        step === "give"
          ? handOver.give(task, id, to)
          : handOver[step === "take-back" ? "takeBack" : step](task, id),
      );
    }
    const outcome = request.id === undefined ? undefined : handOver.outcomeOf(request.id);
    return {
      ...handOver.status(),
      ...(outcome && { outcome }),
      state: this.#state(),
      generation: this.device.generation,
      instance: handOver.instance,
    };
  }

  /** Carries out a request, as the methods above do. */
  async perform(request: AdminRequest, signal?: AbortSignal): Promise<AdminResults[AdminCommand]> {
    switch (request.command) {
      case "info":
        return this.info();
      case "reset":
        return this.reset(signal);
      case "hot-reset":
        return this.hotReset(signal);
      case "inject":
        return this.inject(request.error);
      case "remove":
        return this.remove(signal);
      case "pause":
        return this.pause();
      case "resume":
        return this.resume();
      case "tasks":
        return { tasks: this.tasks() };
      case "migration":
        return this.migration();
      case "stream":
        return this.stream();
      case "hand-over":
        return this.handOver(request, signal);
    }
  }

  /** @throws VfioError ENOTTY */
  #migratable(): { migration: DeviceMigration; handOver: HandOver } {
    const { name, migration, handOver } = this.device;
    if (migration && handOver) return { migration, handOver };
    throw new VfioError("ENOTTY", `${name} cannot be migrated: it declares no state`);
  }

  #state(): MigrationStateName {
    return migrationStateName(this.#migratable().migration.state) as MigrationStateName;
  }

  #assertPresent(): void {
    if (this.device.removed) throw new VfioError("ENODEV", `${this.device.name} was removed`);
  }

  async #run(
    command: AdminCommand,
    signal: AbortSignal | undefined,
    operation: (task: Task) => Promise<void>,
  ): Promise<void> {
    using task = new Task(`admin ${command}`, { signal });
    this.#tasks.add(task);
    try {
      await operation(task);
    } finally {
      this.#tasks.delete(task);
    }
  }
}

function withoutReset({ wasReset: _, ...rest }: HandOverStatus): Omit<HandOverStatus, "wasReset"> {
  return rest;
}

function hex4(value: number): string {
  return value.toString(16).padStart(4, "0");
}
