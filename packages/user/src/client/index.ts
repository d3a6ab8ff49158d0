/** The vfio-user client: what a virtual machine monitor does, as an API. */

export { VfioUserClient } from "./client.js";
export type { CallOptions } from "../socket/index.js";
export { SharedDmaMemory, type DmaMapOptions, type DmaMemory } from "./dma.js";
export { ReplyError } from "../socket/index.js";
export { ClientIrq, type TriggerListener } from "./irq.js";
export type { BackOff } from "./link.js";
export { ClientMigration, type DmaRange } from "./migration.js";
export type { Limits } from "./negotiate.js";
export type { VfioDevice } from "./device.js";
export type { ClientEvents, ClientOptions } from "./options.js";
export { MappedRegion, type MappedArea, type RegionDescription, type RegionIoFds } from "./region.js";
export type { RegionWrite } from "./transfer.js";
