import { VfioError } from "@vfiokit/core";
import {
  MigrationFlags,
  MigrationState,
  migrationStateName,
  type DeviceMigration,
} from "@vfiokit/core/migration";
import { dirtyBitmapSize } from "@vfiokit/core/host";
import * as wire from "../wire/index.js";
import type { Handler, Session } from "./session.js";

type Data = Uint8Array;

/** A feature of VFIO_USER_DEVICE_FEATURE. Each operation takes the request's data and returns the reply's. */
interface FeatureHandler {
  /** Only with a device that can be migrated. */
  readonly migration?: true;
  readonly get?: (session: Session, data: Data) => Data;
  readonly set?: (session: Session, data: Data) => Data | Promise<Data>;
}

const { STOP, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } = MigrationState;

/**
 * vfio-user has no P2P states. A device passes through them all the same, and a transition that fails may end in one:
 * then it initiates nothing (a client that asks for any state gets there as from these).
 */
function stateForClient({ state }: DeviceMigration): MigrationState {
  if (state === RUNNING_P2P) return STOP;
  return state === PRE_COPY_P2P ? PRE_COPY : state;
}

/** VFIO uAPI: data_fd without a descriptor. */
const NO_FD = -1;

const features: Readonly<Record<number, FeatureHandler>> = {
  [wire.Feature.MIGRATION]: {
    migration: true,
    get: (session) =>
      wire.FeatureMigration.encode({ flags: BigInt(migrationOf(session).flags & ~MigrationFlags.P2P) }),
  },

  [wire.Feature.MIG_DEVICE_STATE]: {
    migration: true,
    get: (session) =>
      wire.FeatureMigState.encode({ device_state: stateForClient(migrationOf(session)), data_fd: NO_FD }),
    set: async (session, data) => {
      const { device_state } = wire.FeatureMigState.decode(data);
      if (device_state === RUNNING_P2P || device_state === PRE_COPY_P2P)
        throw new VfioError(
          "EINVAL",
          `migration state ${migrationStateName(device_state)}: not in vfio-user`,
        );
      await migrationOf(session).setState(session.task, device_state as MigrationState);
      return wire.FeatureMigState.encode({ device_state, data_fd: NO_FD });
    },
  },

  [wire.Feature.MIG_DATA_SIZE]: {
    migration: true,
    get: (session) =>
      wire.FeatureMigDataSize.encode({ stop_copy_length: BigInt(migrationOf(session).dataSize()) }),
  },

  [wire.Feature.MIG_PRECOPY_INFO]: {
    migration: true,
    get: (session) => {
      const { initialBytes, dirtyBytes, reinitialized } = migrationOf(session).precopyInfo();
      return wire.FeaturePrecopyInfo.encode({
        argsz: wire.FeaturePrecopyInfo.size,
        flags: reinitialized ? wire.PrecopyInfoFlags.REINIT : 0,
        initial_bytes: BigInt(initialBytes),
        dirty_bytes: BigInt(dirtyBytes),
      });
    },
    // Linux: from now on the flags are to be relied on. They always are.
    set: (_session, data) => data,
  },

  [wire.Feature.DMA_LOGGING_START]: {
    set: ({ device }, data) => {
      const control = wire.FeatureDmaLoggingControl.decode(data);
      const ranges = control.ranges.map(({ iova, length }) => ({ address: iova, size: length }));
      const page_size = device.dma.dirtyLog.start(control.page_size, ranges);
      return wire.FeatureDmaLoggingControl.encode({ ...control, page_size });
    },
  },

  [wire.Feature.DMA_LOGGING_STOP]: {
    set: ({ device }, data) => {
      device.dma.dirtyLog.stop();
      return data;
    },
  },

  [wire.Feature.DMA_LOGGING_REPORT]: {
    get: ({ device, settings }, data) => {
      const { iova, length, page_size } = wire.FeatureDmaLoggingReportRequest.decode(data);
      const size = dirtyBitmapSize(length, page_size);
      if (size > settings.maxDataXferSize)
        throw new VfioError(
          "EINVAL",
          `length ${length}: a bitmap of ${size} bytes, max_data_xfer_size is ${settings.maxDataXferSize}`,
        );
      const bitmap = device.dma.dirtyLog.report(iova, length, page_size);
      return wire.FeatureDmaLoggingReport.encode({ iova, length, page_size, bitmap });
    },
  },
};

export const deviceFeature: Handler<"DEVICE_FEATURE"> = (session, request) => {
  const { flags, data } = request;
  const number = flags & wire.FEATURE_MASK;
  const feature = features[number];
  // Linux, vfio_ioctl_device_feature: ENOTTY for a feature that is not there, EINVAL for one without the operation.
  if (!feature || (feature.migration && !session.device.migration))
    throw new VfioError("ENOTTY", `feature ${number}: the device does not have it`);
  if ((flags & wire.FeatureFlags.GET && !feature.get) || (flags & wire.FeatureFlags.SET && !feature.set))
    throw new VfioError("EINVAL", `flags 0x${flags.toString(16)}: feature ${number} has no such operation`);
  if (flags & wire.FeatureFlags.PROBE) return answer(request, data);
  if (flags & wire.FeatureFlags.GET) return answer(request, feature.get!(session, data));
  const result = feature.set!(session, data);
  return result instanceof Promise ? result.then((d) => answer(request, d)) : answer(request, result);
};

function answer(
  { flags }: wire.RequestPayload<"DEVICE_FEATURE">,
  data: Data,
): { payload: wire.RequestPayload<"DEVICE_FEATURE"> } {
  return { payload: { argsz: wire.DeviceFeature.size + data.length, flags, data } };
}

export const migDataRead: Handler<"MIG_DATA_READ"> = async (session, { size }) => {
  requireTransferSize(session, size);
  const data = transferBuffer(session).subarray(0, size);
  let filled = 0;
  // vfio-user: a reply with less than was asked for is the end of the image.
  while (filled < size) {
    const count = await migrationOf(session).readData(session.task, data.subarray(filled));
    if (count === 0) break;
    filled += count;
  }
  // libvfio-user's client stops at a reply that is shorter than what it has asked for.
  data.fill(0, filled);
  return { payload: { argsz: wire.MigrationData.size + filled, size: filled, data } };
};

/** A client's commands run one at a time, and a reply is encoded before the next one begins: they share a buffer. */
const transferBuffers = new WeakMap<Session, Uint8Array>();

function transferBuffer(session: Session): Uint8Array {
  let buffer = transferBuffers.get(session);
  if (!buffer) transferBuffers.set(session, (buffer = new Uint8Array(session.settings.maxDataXferSize)));
  return buffer;
}

export const migDataWrite: Handler<"MIG_DATA_WRITE"> = async (session, { size, data }) => {
  requireTransferSize(session, size);
  await migrationOf(session).writeData(session.task, data);
  return { payload: {} };
};

function requireTransferSize({ settings }: Session, size: number): void {
  if (size > settings.maxDataXferSize)
    throw new VfioError("EINVAL", `size ${size}: max_data_xfer_size is ${settings.maxDataXferSize}`);
}

/** @throws VfioError ENOTTY */
function migrationOf({ device }: Session): DeviceMigration {
  if (!device.migration) throw new VfioError("ENOTTY", `${device.name}: the device cannot be migrated`);
  return device.migration;
}
