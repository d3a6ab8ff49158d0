import {
  bytes,
  definePciDevice,
  io,
  memory,
  PciDevice,
  sections,
  u64,
  type FunctionHost,
  type PciFunction,
} from "@vfiokit/core";
import { memfdMemory } from "@vfiokit/user/linux";

/** The part of BAR 1 that cannot be mapped, as in the sample. */
const MIDDLE = 0x1000;
const MIDDLE_SIZE = 0x1000;

/** To software what libvfio-user's sample server is, as far as its client looks: the timer is not kept, and fires at once. */
class SampleFunction implements PciFunction {
  #alarm = 0n;
  readonly #middle = new Uint8Array(MIDDLE_SIZE);
  readonly state = sections({
    alarm: u64(
      () => this.#alarm,
      (value) => (this.#alarm = value),
    ),
    middle: bytes(
      { length: MIDDLE_SIZE },
      () => this.#middle,
      (value) => this.#middle.set(value),
    ),
  });

  constructor(private readonly host: FunctionHost) {}

  read(bar: number, offset: number, size: number): number {
    if (bar === 0) return Number((this.#alarm >> BigInt(8 * offset)) & 0xffff_ffffn);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.#middle[offset - MIDDLE + i]!;
    return value;
  }

  write(bar: number, offset: number, value: number, size: number): void {
    if (bar === 0) {
      const shift = BigInt(8 * offset);
      this.#alarm = (this.#alarm & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift);
      this.host.intx.set(true);
      return;
    }
    for (let i = 0; i < size; i++) this.#middle[offset - MIDDLE + i] = value >>> (8 * i);
  }

  reset(): void {
    this.#alarm = 0n;
    this.#middle.fill(0);
  }
}

export function sampleDevice(): PciDevice {
  const definition = definePciDevice({
    name: "sample",
    id: { vendor: 0xdead, device: 0xbeef, subsystemVendor: 0xcafe, subsystem: 0xbabe, classCode: 0 },
    bars: [
      io({ size: 8, slot: 0 }),
      memory({
        size: 0x4000,
        slot: 1,
        mappable: [
          { offset: 0, size: 0x1000 },
          { offset: 0x2000, size: 0x1000 },
        ],
      }),
    ],
    interruptPin: "A",
    create: (host) => new SampleFunction(host),
  });
  return new PciDevice(definition, { memory: memfdMemory });
}
