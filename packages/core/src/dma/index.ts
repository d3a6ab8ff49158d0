export { DmaAddressSpace, type DmaLimits, type DmaMapRequest, type ReadonlyBytes } from "./address-space.js";
export { DirtyLog, dirtyBitmapSize, type DirtyRange } from "./dirty-log.js";
export type { DmaAddress } from "./page.js";
