import { beforeEach, describe, expect, it } from "vitest";
import { IrqIndex, PciDevice, RegionIndex } from "@vfiokit/core";
import { PciHeader } from "@vfiokit/core/pci";
import { IrqFlags, RegionFlags } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { serialCard, uartRegisters as reg, type SerialBackend, type SerialWire } from "@vfiokit/devices";

const task = new Task("test");

class FarEnd implements SerialBackend {
  wire!: SerialWire;
  readonly received: number[] = [];
  readonly breaks: boolean[] = [];
  closed = false;

  attach(wire: SerialWire): void {
    this.wire = wire;
  }
  send(character: number): boolean {
    this.received.push(character);
    return true;
  }
  ready(): void {
    // Nothing is held back.
  }
  sendBreak(on: boolean): void {
    this.breaks.push(on);
  }
  close(): void {
    this.closed = true;
  }
  type(text: string): number {
    const bytes = new TextEncoder().encode(text);
    return this.wire.receive(bytes, 0, bytes.length);
  }
}

let farEnd: FarEnd;
let card: PciDevice;
beforeEach(() => {
  farEnd = new FarEnd();
  card = new PciDevice(serialCard({ backend: farEnd }));
});

/** Reads `size` bytes of BAR 0 or of configuration space: a little-endian number. */
function read(region: number, offset: number, size: number): number {
  const bytes = new Uint8Array(size);
  expect(card.readRegion(task, region, offset, size, bytes, 0)).toBeUndefined(); // no promise
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

function write(region: number, offset: number, ...bytes: number[]): void | Promise<void> {
  return card.writeRegion(task, region, offset, bytes.length, Uint8Array.from(bytes), 0);
}

const { BAR0, CONFIG } = RegionIndex;

/** Assigns a counter to INTx. */
async function countInterrupts(): Promise<{ count: number }> {
  const counter = { count: 0 };
  const trigger = { signal: () => counter.count++, close: () => undefined };
  await card.setIrqs(task, {
    index: IrqIndex.INTX,
    start: 0,
    count: 1,
    action: "trigger",
    data: { triggers: [trigger] },
  });
  return counter;
}

describe("what software sees", () => {
  it("is QEMU's pci-serial: 1b36:0002, a serial controller that is a 16550", () => {
    expect(read(CONFIG, PciHeader.VENDOR_ID, 4)).toBe(0x0002_1b36);
    expect(read(CONFIG, PciHeader.CLASS_PROG, 1)).toBe(0x02);
    expect(read(CONFIG, PciHeader.CLASS_DEVICE, 2)).toBe(0x0700);
  });

  it("BAR 0: eight I/O ports, and no other BAR", () => {
    expect(card.regionInfo(BAR0)).toMatchObject({ size: 8, flags: RegionFlags.READ | RegionFlags.WRITE });
    for (let bar = 1; bar <= 5; bar++) expect(card.regionInfo(bar).size).toBe(0);
  });

  it("pin A, one INTx, no MSI", () => {
    expect(read(CONFIG, PciHeader.INTERRUPT_PIN, 1)).toBe(1);
    expect(card.irqInfo(IrqIndex.INTX)).toMatchObject({ count: 1 });
    expect(card.irqInfo(IrqIndex.INTX).flags & IrqFlags.AUTOMASKED).toBe(IrqFlags.AUTOMASKED);
    expect(card.irqInfo(IrqIndex.MSI).count).toBe(0);
    expect(card.irqInfo(IrqIndex.MSIX).count).toBe(0);
  });

  it("power management, and a PCI Express endpoint that offers FLR and needs no second way to reset", () => {
    expect(card.capabilities.pm).toBeDefined();
    expect(card.capabilities.express).toMatchObject({ type: "endpoint", flr: true });
    expect(card.capabilities.af).toBeUndefined();
  });
});

describe("BAR 0", () => {
  it("is the chip's registers", () => {
    void write(BAR0, reg.LCR, 0x03);
    void write(BAR0, reg.THR, 0x41);
    expect(farEnd.received).toEqual([0x41]);
    expect(read(BAR0, reg.LSR, 1)).toBe(0x60);
  });

  it("a wider access is one to each register, lowest first", () => {
    void write(BAR0, reg.LCR, 0x83);
    void write(BAR0, 0, 0x34, 0x12);
    expect(read(BAR0, 0, 2)).toBe(0x1234);
    expect(read(BAR0, 4, 4)).toBe(0x00_b0_60_00); // SCR, MSR, LSR, MCR
  });

  it("the modem lines of a far end that is there: CTS, DSR and DCD on, RI off", () => {
    expect(read(BAR0, reg.MSR, 1)).toBe(0xb0);
  });

  it("a break goes to the far end, and comes from it", () => {
    void write(BAR0, reg.LCR, 0x43);
    void write(BAR0, reg.LCR, 0x03);
    expect(farEnd.breaks).toEqual([true, false]);
    farEnd.wire.receiveBreak();
    expect(read(BAR0, reg.LSR, 1) & reg.LSR_BI).toBe(reg.LSR_BI);
  });
});

describe("INTx", () => {
  it("is the chip's interrupt, once until it is unmasked", async () => {
    const interrupts = await countInterrupts();
    void write(BAR0, reg.LCR, 0x03);
    void write(BAR0, reg.IER, reg.IER_ERBFI);
    farEnd.type("ab");
    expect(interrupts.count).toBe(1);
    void write(BAR0, reg.FCR, 0x01);
    farEnd.type("c");
    expect(interrupts.count).toBe(1);
    await card.setIrqs(task, { index: IrqIndex.INTX, start: 0, count: 1, action: "unmask", data: "none" });
    expect(interrupts.count).toBe(2); // still asserted
    expect(read(BAR0, reg.RBR, 1)).toBe(0x63);
    await card.setIrqs(task, { index: IrqIndex.INTX, start: 0, count: 1, action: "unmask", data: "none" });
    expect(interrupts.count).toBe(2);
  });
});

describe("reset", () => {
  const powerOn = [0x00, 0x00, 0x01, 0x00, 0x00, 0x60, 0xb0, 0x00];
  const registers = () => powerOn.map((_, register) => read(BAR0, register, 1));

  beforeEach(() => {
    void write(BAR0, reg.LCR, 0x03);
    void write(BAR0, reg.FCR, 0x01);
    void write(BAR0, reg.IER, 0x0f);
    void write(BAR0, reg.MCR, 0x0b);
    void write(BAR0, reg.SCR, 0x5a);
    farEnd.type("left over");
  });

  it("by message puts the chip at its power-on values, and the line low", async () => {
    await card.reset(task);
    expect(registers()).toEqual(powerOn);
    expect(card.irqs.intx.asserted).toBe(false);
  });

  it("by FLR too", async () => {
    const control = card.capabilities.express!.offset + 8;
    await write(CONFIG, control, 0x00, 0x80);
    expect(read(CONFIG, control, 2) & 0x8000).toBe(0);
    expect(registers()).toEqual(powerOn);
  });

  it("leaves a card that works, with the same far end", async () => {
    await card.reset(task);
    void write(BAR0, reg.LCR, 0x03);
    void write(BAR0, reg.THR, 0x42);
    expect(farEnd.received).toEqual([0x42]);
    expect(farEnd.type("x")).toBe(1);
    expect(read(BAR0, reg.RBR, 1)).toBe(0x78);
  });
});

it("closing the card closes its end of the wire", async () => {
  await card.close(task);
  expect(farEnd.closed).toBe(true);
});
