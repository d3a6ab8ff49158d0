/** In the guest: a counter, through its kernel's VFIO. What came of it, as JSON. */

import { RegionIndex } from "@vfiokit/core";
import { counterRegisters } from "@vfiokit/devices";
import { SharedDmaMemory } from "@vfiokit/user";
import { openKernelDevice } from "@vfiokit/user/kernel";
import { IOVA, useCounter } from "../use-counter.js";

const PAGE = 4096;
const COUNT = 42;

const address = process.argv[2]!;
using device = openKernelDevice(address);
using memory = new SharedDmaMemory(PAGE);
await device.dmaMap({ address: BigInt(IOVA), bytes: memory.bytes });
const use = await useCounter(device, memory.bytes);

const count = Uint8Array.of(COUNT, 0, 0, 0);
await device.regionWrite(RegionIndex.BAR0, counterRegisters.COUNT, count);
await device.hotReset();
await device.regionRead(RegionIndex.BAR0, counterRegisters.COUNT, count);
const affected = (await device.hotResetInfo()).map((one) => one.address);

const attempts: readonly (() => unknown)[] = [
  () => {
    using _second = openKernelDevice(address);
  },
  () => device.dmaMap({ address: BigInt(IOVA), bytes: memory.bytes }),
  () => device.dmaUnmap(0n, PAGE),
  () => device.regionRead(RegionIndex.BAR1, 0, count),
];
const refused: string[] = [];
for (const act of attempts) {
  try {
    await act();
  } catch (error) {
    refused.push((error as Error).message);
  }
}
await device.dmaUnmap(BigInt(IOVA), PAGE);
process.stdout.write(JSON.stringify({ use, hot: { affected, count: count[0] }, refused }));
