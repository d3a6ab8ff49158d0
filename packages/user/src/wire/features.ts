/** VFIO_USER_DEVICE_FEATURE: its struct, and the data of each feature (VFIO uAPI: struct vfio_device_feature_*). */

import { MigrationFlags, MigrationState } from "@vfiokit/core/migration";
import { choice, flags, nameOf, s32, u32, u64, U64_END } from "../layout/field.js";
import {
  Struct,
  struct,
  type DescribedField,
  type Fields,
  type StructValue,
  type Tail,
} from "../layout/struct.js";
import { arrayOf, rest } from "../layout/tail.js";

/** VFIO_DEVICE_FEATURE_*. */
export const Feature = {
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
  /** Linux: VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2. */
  MIG_PRECOPY_INFO: 12,
} as const;

/** The low half of the flags is the feature. */
export const FEATURE_MASK = 0xffff;
/** VFIO_DEVICE_FEATURE_GET, SET and PROBE. */
export const FeatureFlags = { GET: 1 << 16, SET: 1 << 17, PROBE: 1 << 18 } as const;

/** The header of a DEVICE_FEATURE message. */
export const DeviceFeature = struct("vfio_user_device_feature", {
  argsz: u32,
  flags: flags(u32, FeatureFlags, {
    mask: FEATURE_MASK,
    text: (feature) => nameOf(Feature, feature) ?? `feature ${feature}`,
  }),
  /** Of the feature: `featureData` says which struct. */
  data: rest,
});
export type DeviceFeature = StructValue<typeof DeviceFeature>;

/** VFIO_DEVICE_FEATURE_MIGRATION: what the device can do. */
export const FeatureMigration = struct("vfio_user_device_feature_migration", {
  flags: flags(u64, MigrationFlags),
});

/** VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. */
export const FeatureMigState = struct("vfio_user_device_feature_mig_state", {
  device_state: choice(u32, MigrationState),
  /** Unused: MIG_DATA_READ and MIG_DATA_WRITE take its place. */
  data_fd: s32,
});

/** A range of addresses whose writes are logged. */
export const DmaLoggingRange = struct("vfio_user_device_feature_dma_logging_range", {
  iova: u64,
  length: u64,
});
/** VFIO_DEVICE_FEATURE_DMA_LOGGING_START. */
export const FeatureDmaLoggingControl = struct("vfio_user_device_feature_dma_logging_control", {
  page_size: u64,
  /** 0: everything. */
  num_ranges: u32,
  reserved: u32,
  ranges: arrayOf(DmaLoggingRange, "num_ranges"),
});
export type FeatureDmaLoggingControl = StructValue<typeof FeatureDmaLoggingControl>;

const dmaLoggingReport = { iova: u64, length: u64, page_size: u64 };
/** VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, the request. */
export const FeatureDmaLoggingReportRequest = struct(
  "vfio_user_device_feature_dma_logging_report",
  dmaLoggingReport,
);
/** One bit a page, in u64s; absent bits are zero. */
const bitmap: Tail<Uint8Array> = {
  ...rest,
  describe: (value) => [{ name: "bitmap", text: `${value.length} bytes, ${countBits(value)} pages dirty` }],
};
/** VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, the reply: with the bitmap. */
export const FeatureDmaLoggingReport = struct("vfio_user_device_feature_dma_logging_report", {
  ...dmaLoggingReport,
  bitmap,
});

/** VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: bytes that STOP_COPY will take, estimated. */
export const FeatureMigDataSize = struct("vfio_device_feature_mig_data_size", { stop_copy_length: u64 });

/** VFIO_PRECOPY_INFO_*. */
export const PrecopyInfoFlags = { REINIT: 1 << 0 } as const;
/**
 * struct vfio_precopy_info. In Linux it is an ioctl's, on the data fd that vfio-user does not have: here GET of the feature
 * by which a client asks for reliable flags there gives it. An extension: other servers do not have it.
 */
export const FeaturePrecopyInfo = struct("vfio_precopy_info", {
  argsz: u32,
  flags: flags(u32, PrecopyInfoFlags),
  initial_bytes: u64,
  dirty_bytes: u64,
});

const none = struct("(no data)", {});

interface FeatureLayout {
  /** Data of the request and of the reply; absent: the feature has no such operation. */
  readonly get?: { readonly request: Struct<Fields>; readonly reply: Struct<Fields> };
  readonly set?: { readonly request: Struct<Fields>; readonly reply: Struct<Fields> };
}

const layouts: Readonly<Record<number, FeatureLayout>> = {
  [Feature.MIGRATION]: { get: { request: none, reply: FeatureMigration } },
  [Feature.MIG_DEVICE_STATE]: {
    get: { request: none, reply: FeatureMigState },
    set: { request: FeatureMigState, reply: FeatureMigState },
  },
  [Feature.DMA_LOGGING_START]: {
    set: { request: FeatureDmaLoggingControl, reply: FeatureDmaLoggingControl },
  },
  [Feature.DMA_LOGGING_STOP]: { set: { request: none, reply: none } },
  [Feature.DMA_LOGGING_REPORT]: {
    get: { request: FeatureDmaLoggingReportRequest, reply: FeatureDmaLoggingReport },
  },
  [Feature.MIG_DATA_SIZE]: { get: { request: none, reply: FeatureMigDataSize } },
  [Feature.MIG_PRECOPY_INFO]: {
    get: { request: none, reply: FeaturePrecopyInfo },
    set: { request: none, reply: none },
  },
};

/** The struct of a feature's data; undefined for features or operations that are not known here, and for a probe. */
export function featureData(featureFlags: number, side: "request" | "reply"): Struct<Fields> | undefined {
  if (featureFlags & FeatureFlags.PROBE) return undefined;
  const layout = layouts[featureFlags & FEATURE_MASK];
  return (featureFlags & FeatureFlags.SET ? layout?.set : layout?.get)?.[side];
}

/** Bytes of the bitmap that reports `length` bytes in pages of `pageSize`: whole u64s. */
export function bitmapSize(length: bigint, pageSize: bigint): bigint {
  const pages = (length + pageSize - 1n) / pageSize;
  return ((pages + 63n) / 64n) * 8n;
}

export function checkFeatureRequest(feature: DeviceFeature): void {
  const fail = (field: "argsz" | "flags", rule: string): never => {
    throw DeviceFeature.error(
      field,
      field === "flags" ? `0x${feature.flags.toString(16)}` : feature.argsz,
      rule,
    );
  };
  const { GET, SET, PROBE } = FeatureFlags;
  const operations = feature.flags & (GET | SET | PROBE);
  if (DeviceFeature.fields.flags.unknown(feature.flags)) fail("flags", "bits 19 to 31 are zero");
  if (operations === 0) fail("flags", "one of GET, SET and PROBE");
  if (operations === (GET | SET)) fail("flags", "GET and SET together only with PROBE");
  const length = DeviceFeature.length(feature);
  if (feature.argsz < length) fail("argsz", `at least the request's ${length} bytes`);

  const data = featureData(feature.flags, "request")?.decode(feature.data);
  const reply = featureData(feature.flags, "reply");
  if (data === undefined || reply === undefined) return;
  let needed = BigInt(DeviceFeature.size + reply.size);
  if (reply === FeatureDmaLoggingReport) {
    const report = FeatureDmaLoggingReportRequest.decode(feature.data);
    checkReport(report);
    needed += bitmapSize(report.length, report.page_size);
  }
  if (operations === GET && BigInt(feature.argsz) < needed) fail("argsz", `the reply needs ${needed} bytes`);
  if ((feature.flags & FEATURE_MASK) === Feature.DMA_LOGGING_START) {
    checkLoggingRanges(FeatureDmaLoggingControl.decode(feature.data));
  }
}

export function checkFeatureReply(feature: DeviceFeature): void {
  featureData(feature.flags, "reply")?.decode(feature.data);
}

const isPowerOfTwo = (value: bigint): boolean => value > 0n && (value & (value - 1n)) === 0n;

function checkReport(report: StructValue<typeof FeatureDmaLoggingReportRequest>): void {
  const { iova, length, page_size } = report;
  if (!isPowerOfTwo(page_size)) throw FeatureDmaLoggingReport.error("page_size", page_size, "a power of two");
  if (length === 0n) throw FeatureDmaLoggingReport.error("length", length, "more than zero");
  if (iova + length > U64_END) {
    throw FeatureDmaLoggingReport.error("length", length, "iova + length within 2^64");
  }
}

function checkLoggingRanges(control: FeatureDmaLoggingControl): void {
  if (!isPowerOfTwo(control.page_size)) {
    throw FeatureDmaLoggingControl.error("page_size", control.page_size, "a power of two");
  }
  for (const { iova, length } of control.ranges) {
    if (length === 0n) throw DmaLoggingRange.error("length", length, "more than zero");
    if (iova + length > U64_END) throw DmaLoggingRange.error("length", length, "iova + length within 2^64");
  }
}

/** The feature's data, field by field; raw bytes where its layout is not known. */
export function describeFeature(feature: DeviceFeature, side: "request" | "reply"): DescribedField[] {
  const layout = featureData(feature.flags, side);
  if (!layout) return DeviceFeature.describe(feature);
  return [
    ...DeviceFeature.describe({ ...feature, data: new Uint8Array() }),
    ...layout.describe(layout.decode(feature.data)),
  ];
}

function countBits(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) for (let rest = byte; rest; rest &= rest - 1) count++;
  return count;
}
