import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader, PciMsixEntry } from "@vfiokit/core/pci";
import { counterRegisters } from "@vfiokit/devices";
import type { VfioDevice } from "@vfiokit/user";

const { ADDRESS_LOW, COMPARE, CONTROL, CONTROL_ENABLE, CONTROL_INTERRUPT, COUNT, PERIOD, STATUS } =
  counterRegisters;
const { BAR0, BAR2, CONFIG } = RegionIndex;

/** Where the counter finds the memory that it writes to. */
export const IOVA = 0x10_0000;
const GOAL = 5;

/** What a counter with scratch memory and MSI-X does, whatever is between it and us. */
export interface CounterUse {
  /** Of the first interrupt. */
  readonly vector: number;
  readonly status: number;
  /** What it wrote to memory. */
  readonly memory: number;
  /** What a mapping of its scratch memory shows of what was written by messages, and the other way round. */
  readonly mapped: readonly number[];
  /** COUNT and scratch memory after a reset. */
  readonly afterReset: readonly number[];
}

/** @param memory that the device reaches at IOVA */
export async function useCounter(device: VfioDevice, memory: Uint8Array): Promise<CounterUse> {
  const word = new Uint8Array(4);
  const view = new DataView(word.buffer);
  const write = async (region: number, offset: number, value: number, size = 4): Promise<void> => {
    view.setUint32(0, value, true);
    await device.regionWrite(region, offset, word.subarray(0, size));
  };
  const read = async (region: number, offset: number): Promise<number> => {
    await device.regionRead(region, offset, word);
    return view.getUint32(0, true);
  };
  await write(CONFIG, PciHeader.COMMAND, PciCommand.MEMORY | PciCommand.MASTER, 2);

  const irq = device.irq(IrqIndex.MSIX);
  await irq.enable(1);
  // Over a socket the vector is masked as at power-on; the kernel has unmasked it, and keeps the table to itself.
  await write(RegionIndex.BAR4, PciMsixEntry.VECTOR_CTRL, 0);
  const interrupt = irq.next();
  await write(BAR0, COMPARE, GOAL);
  await write(BAR0, PERIOD, 1);
  await write(BAR0, ADDRESS_LOW, IOVA);
  await write(BAR0, CONTROL, CONTROL_ENABLE | CONTROL_INTERRUPT);
  const vector = await interrupt;
  const status = await read(BAR0, STATUS);

  const mapped: number[] = [];
  {
    using region = await device.mapRegion(BAR2);
    const { bytes } = region.areas[0]!;
    await write(BAR2, 8, 0x5a);
    mapped.push(bytes[8]!);
    bytes[16] = 0xa5;
    mapped.push((await read(BAR2, 16)) & 0xff);
  }
  await device.reset();
  await write(CONFIG, PciHeader.COMMAND, PciCommand.MEMORY, 2);
  const afterReset = [await read(BAR0, COUNT), await read(BAR2, 8)];
  return {
    vector,
    status,
    memory: new DataView(memory.buffer, memory.byteOffset).getUint32(0, true),
    mapped,
    afterReset,
  };
}
