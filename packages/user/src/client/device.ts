import type { VfioUserClient } from "./client.js";

/**
 * A device of VFIO, whatever is between it and us: a vfio-user socket (`VfioUserClient`), or the kernel (`KernelDevice` of
 * `@vfiokit/user/kernel`).
 */
export type VfioDevice = Disposable &
  Pick<
    VfioUserClient,
    | "migration"
    | "getInfo"
    | "getRegionInfo"
    | "mapRegion"
    | "regionRead"
    | "regionWrite"
    | "getIrqInfo"
    | "irq"
    | "reset"
    | "close"
  >;
