import type { Mutex, Task } from "@vfiokit/lockdep";
import type { MigrationState } from "./fsm.js";
import type { StreamLayout } from "./ops.js";
import type { PrecopyInfo } from "./precopy-writer.js";

/**
 * How a device is migrated, by whoever serves it: VFIO's migration features, one member each. `PciDevice.migration` is
 * one; the hand-over between two devices that goes with it is `PciDevice.handOver`.
 */
export interface DeviceMigration {
  /** VFIO_DEVICE_FEATURE_MIGRATION: the device's MigrationFlags. */
  readonly flags: number;
  /** VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, GET. Takes no lock. */
  readonly state: MigrationState;
  /** A data session is open, and neither a transition nor a reset has ended it. */
  readonly sessionOpen: boolean;
  /** What the stream is made of; undefined where the driver does not say. */
  readonly layout: StreamLayout | undefined;
  /** Linux: state_mutex. For whoever lists what tasks wait for: the members below take it. */
  readonly stateMutex: Mutex;

  /**
   * VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, SET: goes to `target` by the shortest path of arcs.
   * On failure the device stays where the last finished arc left it, or is in ERROR; `state` tells.
   * @throws VfioError EINVAL for a pair without a path, ECANCELED when a reset overtook it, EBUSY while a hand-over
   *   keeps the device stopped, or what the driver says
   */
  setState(task: Task, target: MigrationState): Promise<void>;

  /** VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: bytes of a STOP_COPY image, estimated; while one is read, of what is left of it. */
  dataSize(): number;

  /**
   * VFIO_MIG_GET_PRECOPY_INFO: what there is to be sent in PRE_COPY. A re-initialisation is told of once.
   * @throws VfioError EINVAL in other states, ENOTTY if the device does not tell
   */
  precopyInfo(): PrecopyInfo;

  /**
   * Reads the next bytes of the image into `into` and returns how many; 0 at its end.
   * @throws VfioError EINVAL without a session to read from, ENODEV when the session is dead
   */
  readData(task: Task, into: Uint8Array): number | Promise<number>;

  /**
   * Takes the next bytes of the image.
   * @throws VfioError EINVAL without a session to write to, ENODEV when the session is dead
   */
  writeData(task: Task, from: Uint8Array): void | Promise<void>;
}
