import { VfioError } from "@vfiokit/core";
import type { HandOverReport } from "../../admin/index.js";
import { connectUnix, nobodyListens } from "../../linux/index.js";
import type { MigrationTarget } from "../endpoint.js";
import { EndpointGoneError } from "../errors.js";
import { HandOverControl } from "../hand-over-control.js";
import { LocalTarget } from "../local-target.js";

/** A target's part in a hand-over that was left in the middle. */
export interface TargetHandOver {
  status(id?: string): Promise<HandOverReport>;
  step(step: "activate" | "discard", id: string): Promise<HandOverReport>;
  close(): void;
}

/** A device that a receiver takes migrations for. */
export interface ReceiverDevice {
  /**
   * Its only client, for one migration.
   * @param reclaim as `LocalTargetOptions.reclaim`
   */
  open(reclaim: boolean): Promise<MigrationTarget>;
  /** @throws EndpointGoneError: nobody serves it; ENOTTY: it takes no part in hand-overs */
  handOver(): Promise<TargetHandOver>;
}

/** The device of the vfio-user server at `path`. */
export function localDevice(path: string): ReceiverDevice {
  return {
    open: (reclaim) => LocalTarget.connect(path, { reclaim }),
    async handOver() {
      const control = await HandOverControl.open(path);
      if (control) return control;
      assertServed(path);
      throw new VfioError("ENOTTY", `${path}: its server takes no part in the hand-over`);
    },
  };
}

/** @throws EndpointGoneError: nobody listens there */
function assertServed(path: string): void {
  try {
    connectUnix(path).close();
  } catch (error) {
    if (nobodyListens(error)) throw new EndpointGoneError(`${path}: nobody serves a device there`);
    throw error;
  }
}
