/** In the guest: a counter, through its kernel's VFIO. What came of it, as JSON. */

import { SharedDmaMemory } from "@vfiokit/user";
import { openKernelDevice } from "@vfiokit/user/kernel";
import { IOVA, useCounter } from "../use-counter.js";

const PAGE = 4096;

using device = openKernelDevice(process.argv[2]!);
using memory = new SharedDmaMemory(PAGE);
await device.dmaMap({ address: BigInt(IOVA), bytes: memory.bytes });
const use = await useCounter(device, memory.bytes);
await device.dmaUnmap(BigInt(IOVA), PAGE);
process.stdout.write(JSON.stringify(use));
