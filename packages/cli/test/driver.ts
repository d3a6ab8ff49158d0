import { PciDevice } from "@vfiokit/core";
import { serialCard, uartRegisters as reg, type SerialBackend } from "@vfiokit/devices";
import { Task } from "@vfiokit/lockdep";

const BAR0 = 0;

/** What a guest's driver does with the card's registers, polling, in this process. */
export class Driver {
  readonly card: PciDevice;
  private readonly task = new Task("driver");
  private readonly byte = new Uint8Array(1);

  constructor(backend: SerialBackend) {
    this.card = new PciDevice(serialCard({ backend }));
    this.write(reg.LCR, 0x03);
    this.write(reg.FCR, reg.FCR_FIFO_ENABLE | reg.FCR_TRIGGER);
    this.write(reg.MCR, reg.MCR_DTR | reg.MCR_RTS);
  }

  read(register: number): number {
    void this.card.readRegion(this.task, BAR0, register, 1, this.byte, 0);
    return this.byte[0]!;
  }

  write(register: number, value: number): void {
    this.byte[0] = value;
    void this.card.writeRegion(this.task, BAR0, register, 1, this.byte, 0);
  }

  /** Writes up to 16 bytes when the transmitter is empty; waits while it is not. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += 16) {
      while (!(this.read(reg.LSR) & reg.LSR_THRE)) await nextTurn();
      for (const byte of bytes.subarray(at, at + 16)) this.write(reg.THR, byte);
    }
  }

  async receive(count: number): Promise<Uint8Array> {
    const received = new Uint8Array(count);
    for (let at = 0; at < count; at++) {
      while (!(this.read(reg.LSR) & reg.LSR_DR)) await nextTurn();
      received[at] = this.read(reg.RBR);
    }
    return received;
  }

  /** True once the transmitter has not been able to send for a while: the far end makes the card wait. */
  async isHeldUp(): Promise<boolean> {
    for (let turn = 0; turn < 50; turn++) {
      if (this.read(reg.LSR) & reg.LSR_THRE) return false;
      await nextTurn();
    }
    return true;
  }

  close(): Promise<void> {
    return this.card.close(this.task);
  }
}

export const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Bytes in which every loss, repetition and swap shows. */
export function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 1;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}
