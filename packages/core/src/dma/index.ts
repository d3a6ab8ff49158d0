export { DmaAddressSpace } from "./address-space.js";
export { DirtyLog, dirtyBitmapSize, type DirtyRange } from "./dirty-log.js";
export type { DmaLimits, DmaMapRequest } from "./map-request.js";
export type { DmaAddress } from "./page.js";
