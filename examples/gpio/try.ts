import { IrqIndex, PciDevice, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { gpioCard, type Gpio } from "./gpio.js";

/** A card, and a client that uses it as a driver would. */
function plugIn() {
  let gpio!: Gpio;
  const device = new PciDevice(gpioCard((made) => (gpio = made)));
  const task = new Task("driver");
  const buffer = new DataView(new ArrayBuffer(4));
  const bytes = new Uint8Array(buffer.buffer);

  async function read(region: number, offset: number): Promise<number> {
    await device.readRegion(task, region, offset, 4, bytes, 0);
    return buffer.getUint32(0, true);
  }
  async function write(region: number, offset: number, value: number): Promise<void> {
    buffer.setUint32(0, value, true);
    await device.writeRegion(task, region, offset, 4, bytes, 0);
  }
  return { gpio, device, task, read, write };
}

const card = plugIn();

// The driver: switch memory accesses on, make pin 0 an output and drive it, listen on pin 4.
await card.write(RegionIndex.CONFIG, PciHeader.COMMAND, PciCommand.MEMORY);
await card.write(RegionIndex.BAR0, 0x00, 0b0_0001);
await card.write(RegionIndex.BAR0, 0x04, 0b0_0001);
await card.write(RegionIndex.BAR0, 0x0c, 0b1_0000);
console.log("input", await card.read(RegionIndex.BAR0, 0x08)); // input 1

// The client connects the interrupt line: to an eventfd over a socket, to a function here.
const trigger = { signal: () => console.log("interrupt"), close: () => undefined };
await card.device.setIrqs(card.task, {
  index: IrqIndex.INTX,
  start: 0,
  count: 1,
  action: "trigger",
  data: { triggers: [trigger] },
});
card.gpio.drive(0b1_0000); // interrupt
console.log("pending", await card.read(RegionIndex.BAR0, 0x10)); // pending 16

// It migrates: the state goes from one card into another.
const other = plugIn();
const [from, to] = [card.device.migration!, other.device.migration!];
await from.setState(card.task, MigrationState.STOP_COPY);
await to.setState(other.task, MigrationState.RESUMING);
const piece = new Uint8Array(1000);
for (;;) {
  const count = await from.readData(card.task, piece);
  if (count === 0) break;
  await to.writeData(other.task, piece.subarray(0, count));
}
await to.setState(other.task, MigrationState.RUNNING);
console.log("pending there", await other.read(RegionIndex.BAR0, 0x10)); // pending there 16

// And it resets.
await other.device.reset(other.task);
await other.write(RegionIndex.CONFIG, PciHeader.COMMAND, PciCommand.MEMORY);
console.log("after reset", await other.read(RegionIndex.BAR0, 0x10)); // after reset 0
