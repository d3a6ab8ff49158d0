import { array, definePciDevice, mmio, pm, sections } from "@vfiokit/core";
import type { FunctionHost, PciFunction } from "@vfiokit/core";

// The registers of BAR 0: 32 bits each, a bit is a pin. Register n is at offset 4n.
const DIRECTION = 0; // 1: the pin is an output
const OUTPUT = 1; // the level that an output drives
const INPUT = 2; // read only: the level of every pin
const RISING = 3; // 1: a rising edge of the pin interrupts
const PENDING = 4; // rising edges seen; writing 1 clears

export class Gpio implements PciFunction {
  readonly #registers = new Uint32Array(5);
  #wires = 0; // what the outside world drives
  readonly #host: FunctionHost;

  constructor(host: FunctionHost) {
    this.#host = host;
  }

  read(_bar: number, offset: number): number {
    return offset === 4 * INPUT ? this.levels : (this.#registers[offset >> 2] ?? 0);
  }

  write(_bar: number, offset: number, value: number): void {
    const before = this.levels;
    const register = offset >> 2;
    if (register === PENDING) this.#registers[PENDING]! &= ~value;
    else if (register !== INPUT) this.#registers[register] = value;
    this.#update(before);
  }

  /** The level of every pin: an output has what the card drives, an input what the world drives. */
  get levels(): number {
    const direction = this.#registers[DIRECTION]!;
    return ((this.#registers[OUTPUT]! & direction) | (this.#wires & ~direction)) >>> 0;
  }

  /** The world drives its wires to these levels. */
  drive(wires: number): void {
    const before = this.levels;
    this.#wires = wires;
    this.#update(before);
  }

  reset(): void {
    this.#registers.fill(0);
  }

  readonly state = sections({
    registers: array(
      "u32",
      { length: 5 },
      () => [...this.#registers],
      (saved) => this.#registers.set(saved),
    ),
  });

  #update(before: number): void {
    this.#registers[PENDING]! |= this.levels & ~before & this.#registers[RISING]!;
    this.#host.intx.set(this.#registers[PENDING] !== 0);
  }
}

/** The card. `plugged` gets the Gpio behind the registers, to connect the world to it. */
export function gpioCard(plugged: (gpio: Gpio) => void) {
  return definePciDevice({
    name: "gpio",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [mmio({ size: 0x1000 })],
    interruptPin: "A",
    capabilities: [pm()],
    create: (host) => {
      const gpio = new Gpio(host);
      plugged(gpio);
      return gpio;
    },
  });
}
