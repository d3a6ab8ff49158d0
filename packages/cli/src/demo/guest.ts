import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { uartRegisters as reg } from "@vfiokit/devices";
import type { ClientIrq, VfioUserClient } from "@vfiokit/user";

const { BAR0 } = RegionIndex;

/** What the driver in a virtual machine does, as register accesses over vfio-user. */
export class Guest {
  accesses = 0;
  /** Interrupts that the card has signalled. */
  interrupts = 0;
  private served = 0;
  private wake: () => void = () => undefined;
  private readonly intx: ClientIrq;

  constructor(private readonly client: VfioUserClient) {
    this.intx = client.irq(IrqIndex.INTX);
    this.intx.onTrigger((_vector, count) => {
      this.interrupts += count;
      this.wake();
    });
  }

  async read(register: number): Promise<number> {
    const byte = new Uint8Array(1);
    this.accesses++;
    await this.client.regionRead(BAR0, register, byte);
    return byte[0]!;
  }

  async write(register: number, value: number): Promise<void> {
    this.accesses++;
    await this.client.regionWrite(BAR0, register, Uint8Array.of(value));
  }

  /** As Linux opens a tty: 115200 baud, 8N1, FIFOs on with the trigger at 8, DTR and RTS on, an interrupt for what arrives. */
  async openTty(): Promise<void> {
    await this.intx.enable(1);
    await this.write(reg.LCR, reg.LCR_DLAB);
    await this.write(reg.DLL, 1);
    await this.write(reg.DLM, 0);
    await this.write(reg.LCR, 0x03);
    await this.write(reg.FCR, reg.FCR_FIFO_ENABLE | 0x80);
    await this.write(reg.MCR, reg.MCR_DTR | reg.MCR_RTS | reg.MCR_OUT2);
    await this.write(reg.IER, reg.IER_ERBFI);
  }

  /** Fills the transmitter FIFO whenever it is empty. The 16 writes of a FIFO go out without waiting in between. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += 16) {
      while (!((await this.read(reg.LSR)) & reg.LSR_THRE));
      await Promise.all(Array.from(bytes.subarray(at, at + 16), (byte) => this.write(reg.THR, byte)));
    }
  }

  /** Reads as a driver's interrupt handler does: until the FIFO is empty, and then waits for the next interrupt. */
  async receive(count: number): Promise<Uint8Array> {
    const bytes: number[] = [];
    for (;;) {
      while ((await this.read(reg.LSR)) & reg.LSR_DR) bytes.push(await this.read(reg.RBR));
      if (bytes.length >= count) return Uint8Array.from(bytes);
      await this.nextInterrupt();
    }
  }

  /** Waits for an interrupt that was not served yet, and unmasks the line, which its signal has masked. */
  async nextInterrupt(): Promise<void> {
    await this.intx.unmask();
    while (this.interrupts === this.served) await new Promise<void>((resolve) => (this.wake = resolve));
    this.served = this.interrupts;
  }
}
