import { DeviceSet, PciDevice, type PciDeviceDefinition } from "@vfiokit/core";
import { PciPm, PciPmCtrl } from "@vfiokit/core/pci";
import { generationStrategy, type ResetInitiator } from "@vfiokit/core/lab";
import { Task } from "@vfiokit/lockdep";
import { VfioUserServer } from "@vfiokit/user";
import { memfdMemory } from "@vfiokit/user/linux";
import type { Scratch } from "./lab.js";
import type { DeviceOptions } from "./qemu.js";

/**
 * A card that the test's own process serves, under the lock validator, one socket a function; it remembers what
 * reset each function.
 */
export class RecordedCard {
  readonly functions: readonly RecordedFunction[];

  constructor(definitions: readonly PciDeviceDefinition[], scratch: Scratch, id: string) {
    const set = new DeviceSet();
    this.functions = definitions.map(
      (definition, number) => new RecordedFunction(definition, set, scratch, `${id}.${number}`),
    );
  }

  async listen(): Promise<void> {
    for (const one of this.functions) await one.listen();
  }

  /** The functions as devices of one slot. */
  devices(bus: string): DeviceOptions[] {
    return this.functions.map((one, number) => ({
      ...one.options,
      bus,
      addr: `0.${number}`,
      multifunction: this.functions.length > 1,
    }));
  }

  async close(): Promise<void> {
    for (const one of this.functions) await one.close();
  }
}

export class RecordedFunction {
  readonly device: PciDevice;
  readonly options: DeviceOptions;
  /** What reset it, in order: one entry a reset that really happened. */
  private readonly resets: ResetInitiator[] = [];
  private readonly server: VfioUserServer;
  /** What the server said, a line each with its level. */
  log = "";

  constructor(definition: PciDeviceDefinition, set: DeviceSet, scratch: Scratch, id: string) {
    const { resets } = this;
    this.device = new PciDevice(definition, {
      memory: memfdMemory,
      set,
      strategy: {
        ...generationStrategy,
        pathDone(device, task, outcome) {
          if (outcome.wasReset) resets.push(outcome.initiator);
          return generationStrategy.pathDone(device, task, outcome);
        },
      },
    });
    const log = (level: string, message: string): void => {
      this.log += `${level}: ${message}\n`;
    };
    this.server = new VfioUserServer(this.device, { socketPath: scratch.outside(id), log });
    const socket = { type: "unix", path: scratch.inside(id) };
    this.options = { driver: "vfio-user-pci", id: id.replace(".", "-"), socket };
  }

  async listen(): Promise<void> {
    await this.server.listen();
  }

  /** What resets the function while something is done. @throws Error when its generation does not count them all */
  async resetsWhile(act: () => Promise<unknown>): Promise<ResetInitiator[]> {
    const [before, generation] = [this.resets.length, this.device.generation];
    await act();
    const during = this.resets.slice(before);
    const counted = this.device.generation - generation;
    if (counted !== during.length)
      throw new Error(`${this.device.name}: ${counted} generations for the resets ${during.join(", ")}`);
    return during;
  }

  /** As the function's registers have it: 0 is D0, 3 is D3hot. */
  get powerState(): number {
    const { config, capabilities } = this.device;
    return config.get16(capabilities.pm!.offset + PciPm.CTRL) & PciPmCtrl.STATE_MASK;
  }

  async close(): Promise<void> {
    await this.server.close();
    await this.device.close(new Task("end of the test"));
  }
}
