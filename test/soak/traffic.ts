/** What a client of a device does, by chance, and what it must find. */

import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { counterRegisters, memoryCardRegisters, uartRegisters } from "@vfiokit/devices";
import { ReplyError, VfioUserClient } from "@vfiokit/user";
import type { Random } from "../fuzz/random.js";
import type { DeviceKind, SoakDevice } from "./plan.js";

export interface Counts {
  sessions: number;
  operations: number;
  resets: number;
  saves: number;
  moves: number;
  interrupts: number;
}

/** A register that keeps what is written, and nothing else comes of it. */
const scratch: Record<DeviceKind, { readonly offset: number; readonly size: 1 | 4 }> = {
  serial: { offset: uartRegisters.SCR, size: 1 },
  counter: { offset: counterRegisters.COMPARE, size: 4 },
  "memory-card": { offset: memoryCardRegisters.SEED, size: 4 },
};

const BAR0 = 0;
const PCI_COMMAND = 4;
/** I/O, memory, bus master. */
const ENABLED = Uint8Array.of(7, 0);
const PAGE = 4096;
const MAX_OPERATIONS = 150;
/** Far beyond what an answer may take on a busy machine: what is later is lost. */
const TIMEOUT_MS = 15_000;

/** One client of a device, from its connection to its end. */
export class TrafficSession {
  readonly #maps: bigint[] = [];
  #written = 0;

  private constructor(
    private readonly device: SoakDevice,
    private readonly client: VfioUserClient,
    private readonly random: Random,
    private readonly counts: Counts,
  ) {}

  /** @throws Error: what the device must not do */
  static async run(device: SoakDevice, random: Random, counts: Counts, isOver: () => boolean): Promise<void> {
    using client = await VfioUserClient.connect(device.path, {
      twinSocket: random.once(2),
      timeoutMs: TIMEOUT_MS,
    });
    const session = new TrafficSession(device, client, random, counts);
    counts.sessions++;
    await session.#reset();
    for (let left = random.below(MAX_OPERATIONS); left > 0 && !isOver(); left--) {
      await session.#operation();
      counts.operations++;
      // Twenty clients that never pause would show what the machine can do, and not what grows.
      if (random.once(4)) await new Promise((resolve) => setTimeout(resolve, random.below(20)));
    }
    // Half of them leave all that they have set up to the server.
    if (random.once(2)) await client.dmaUnmapAll();
  }

  async #operation(): Promise<void> {
    const { random } = this;
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
        return this.#write();
      case 3:
      case 4:
      case 5:
        return this.#check();
      case 6:
        return this.#map();
      case 7:
        return this.#unmap();
      case 8:
        return this.#irqs();
      case 9:
        return random.once(4) ? this.#reset() : undefined;
      case 10:
        return random.once(10) ? this.#save() : undefined;
      case 11:
      case 12:
        return this.#work();
      default:
        await this.client.regionRead(RegionIndex.CONFIG, 4 * random.below(16), new Uint8Array(4));
    }
  }

  async #reset(): Promise<void> {
    await this.client.reset();
    await this.client.regionWrite(RegionIndex.CONFIG, PCI_COMMAND, ENABLED);
    this.counts.resets++;
    this.#written = 0;
    await this.#write();
  }

  async #write(): Promise<void> {
    const { offset, size } = scratch[this.device.kind];
    this.#written = size === 1 ? this.random.below(256) : this.random.below(2 ** 31);
    await this.#put(offset, this.#written, size);
  }

  async #check(): Promise<void> {
    const { offset, size } = scratch[this.device.kind];
    const bytes = new Uint8Array(4);
    await this.client.regionRead(BAR0, offset, bytes.subarray(0, size));
    const found = new DataView(bytes.buffer).getUint32(0, true);
    if (found !== this.#written)
      throw new Error(`register 0x${offset.toString(16)} is ${found}: ${this.#written} was written`);
  }

  async #put(offset: number, value: number, size: 1 | 4 = 4): Promise<void> {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    await this.client.regionWrite(BAR0, offset, bytes.subarray(0, size));
  }

  async #map(): Promise<void> {
    if (this.#maps.length >= 8) return this.#unmap();
    const address = BigInt(PAGE * 16 * (1 + this.#maps.length + 8 * this.random.below(64)));
    const bytes = PAGE * (1 + this.random.below(4));
    if (this.#maps.includes(address)) return;
    const memory = this.random.once(3) ? { bytes: new Uint8Array(bytes) } : this.client.shareMemory(bytes);
    await this.client.dmaMap({ address, memory });
    this.#maps.push(address);
    this.#sizes.set(address, bytes);
  }
  readonly #sizes = new Map<bigint, number>();

  async #unmap(): Promise<void> {
    const address = this.#maps.shift();
    if (address !== undefined) await this.client.dmaUnmap(address, this.#sizes.get(address)!);
  }

  async #irqs(): Promise<void> {
    const index = this.random.pick(
      this.device.kind === "counter" ? [IrqIndex.INTX, IrqIndex.MSI] : [IrqIndex.REQ],
    );
    const irq = this.client.irq(index);
    if (irq.enabled > 0) await irq.disable();
    else {
      await irq.enable(1);
      irq.onTrigger((_vector, count) => (this.counts.interrupts += count));
      await irq.trigger(0);
    }
  }

  /** The device does what it is for. */
  async #work(): Promise<void> {
    const { random } = this;
    switch (this.device.kind) {
      case "serial":
        await this.#put(uartRegisters.THR, random.below(256), 1);
        await this.client.regionRead(BAR0, uartRegisters.RBR, new Uint8Array(1));
        return;
      case "counter": {
        const address = this.#maps.length > 0 ? Number(random.pick(this.#maps)) : 0;
        await this.#put(counterRegisters.CONTROL, 0);
        await this.#put(counterRegisters.ADDRESS_LOW, address);
        await this.#put(counterRegisters.PERIOD, 1);
        await this.#put(counterRegisters.COUNT, (this.#written - 2) >>> 0);
        await this.#put(counterRegisters.STATUS, counterRegisters.STATUS_MASK);
        await this.#put(
          counterRegisters.CONTROL,
          counterRegisters.CONTROL_ENABLE | counterRegisters.CONTROL_INTERRUPT,
        );
        return;
      }
      case "memory-card":
        await this.#put(memoryCardRegisters.PAGE, 0);
        await this.#put(memoryCardRegisters.COUNT, random.below(16));
        await this.#put(memoryCardRegisters.RATE, random.below(1 << 20));
        await this.#put(
          memoryCardRegisters.COMMAND,
          random.pick([memoryCardRegisters.COMMAND_FILL, memoryCardRegisters.COMMAND_VERIFY]),
        );
    }
  }

  /** The client migrates the device itself, and changes its mind: behind a relay that moves it, it is refused. */
  async #save(): Promise<void> {
    const { migration } = this.client;
    try {
      await migration.setState("STOP_COPY");
      for await (const chunk of migration.stream(PAGE)) if (chunk.length === 0) break;
      this.counts.saves++;
    } catch (error) {
      if (!(error instanceof ReplyError) || this.device.servers === undefined) throw error;
    }
    await retryBusy(() => migration.setState("RUNNING"));
  }
}

/** While the relay moves the device, its state is the relay's. */
async function retryBusy(change: () => Promise<void>): Promise<void> {
  for (let left = 200; ; left--) {
    try {
      await change();
      return;
    } catch (error) {
      if (!(error instanceof ReplyError) || error.code !== "EBUSY" || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}
