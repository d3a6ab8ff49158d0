import {
  definePciDevice,
  express,
  io,
  pm,
  sections,
  type FunctionHost,
  type PciDeviceDefinition,
  type PciFunction,
  type StateSections,
} from "@vfiokit/core";
import type { SerialBackend } from "./backend.js";
import { guardedClock, systemClock, type Clock } from "../clock/index.js";
import { MSR_CTS, MSR_DCD, MSR_DSR } from "./registers.js";
import { Uart16550 } from "./uart16550.js";

/** What `serialCard` can be told. */
export interface SerialCardOptions {
  /** The other end of the wire. It serves one card. */
  readonly backend: SerialBackend;
  readonly clock?: Clock;
}

/**
 * A PCI serial card with one 16550A at the eight I/O ports of BAR 0: the counterpart of QEMU's `pci-serial`,
 * which the drivers of Linux (8250_pci) and Windows know.
 */
export function serialCard(options: SerialCardOptions): PciDeviceDefinition {
  return definePciDevice({
    name: "serial",
    // Class: communication controller, serial; programming interface 02: a 16550.
    id: { vendor: 0x1b36, device: 0x0002, classCode: 0x070002 },
    bars: [io({ size: 8 })],
    interruptPin: "A",
    // An endpoint and not a legacy endpoint, which I/O ports ask for: QEMU hides the PCI Express capability of
    // legacy endpoints on a root bus, and the guest's function-level reset with it.
    capabilities: [pm(), express({ type: "endpoint", flr: true })],
    create: (host) => new SerialCard(host, options.backend, options.clock ?? systemClock),
  });
}

class SerialCard implements PciFunction {
  private readonly uart: Uart16550;
  readonly state: StateSections;

  constructor(
    host: FunctionHost,
    private readonly backend: SerialBackend,
    clock: Clock,
  ) {
    this.uart = new Uart16550(
      {
        interrupt: (asserted) => host.intx.set(asserted),
        send: (character) => backend.send(character),
        sendBreak: (on) => backend.sendBreak?.(on),
        receiverReady: () => backend.ready(),
      },
      guardedClock(clock, host),
    );
    this.state = sections({ uart: this.uart.state });
    // A null-modem cable to a far end that is always there.
    this.uart.setModemInputs(MSR_CTS | MSR_DSR | MSR_DCD);
    this.uart.reset();
    backend.attach({
      receive: (bytes, from, to) => this.uart.receive(bytes, from, to),
      receiveBreak: () => this.uart.receiveBreak(),
      writable: () => this.uart.transmit(),
    });
  }

  /** The chip is 8 bits wide: a wider access is one to each register in turn, as on a PC's bus. */
  read(_bar: number, offset: number, size: number): number {
    let value = this.uart.readRegister(offset);
    for (let i = 1; i < size; i++) value |= this.uart.readRegister(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(_bar: number, offset: number, value: number, size: number): void {
    for (let i = 0; i < size; i++) this.uart.writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
  }

  reset(): void {
    this.uart.reset();
  }

  stop(): void {
    this.uart.stop();
  }

  run(): void {
    this.uart.run();
  }

  close(): void {
    this.uart.stop();
    this.backend.close?.();
  }
}
