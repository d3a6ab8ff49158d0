import type { MemoryProvider } from "../memory.js";
import type { ResetStateRequirement } from "../migration/ops.js";
import type { DeviceSet } from "../reset/device-set.js";
import type { ResetStrategy } from "../reset/strategy.js";
import type { FaultOptions } from "./faults.js";
import type { IdlePower } from "./runtime-pm.js";

/** What a device gets from who serves it. */
export interface PciDeviceOptions extends FaultOptions {
  /** In logs and errors. Default: the definition's name. */
  readonly name?: string;
  /** Where memory-like BARs come from. Default: memory that clients cannot map. */
  readonly memory?: MemoryProvider;
  /** The functions that are reset together with this one. Default: a set of its own. */
  readonly set?: DeviceSet;
  /** What a reset does to a migration. Default: `generationStrategy`. */
  readonly strategy?: ResetStrategy;
  /** What registration demands of migration ops. Default: "warn". */
  readonly resetStateOp?: ResetStateRequirement;
  /** What happens while nobody has it open. Default: D0, Linux's disable_idle_d3. */
  readonly idlePower?: IdlePower;
  /** Hears of what deserves attention and is no error. */
  readonly warn?: (message: string) => void;
}
