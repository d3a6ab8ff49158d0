/** Arbitrary valid messages: for round trips here, and to mutate in fuzz tests. */

import fc from "fast-check";
import { RegionFlags } from "@vfiokit/core/host";
import {
  bitmapSize,
  Command,
  Feature,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReport,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigDataSize,
  FeatureMigration,
  FeatureMigState,
  FeaturePrecopyInfo,
  IrqSetFlags,
  RegionInfo,
  ShadowSubRegion,
  SubRegion,
  type CommandName,
  type Message,
  type RegionCapability,
  type ReplyPayload,
  type RequestPayload,
} from "@vfiokit/user/wire";

export const u16 = fc.nat(0xffff);
export const u32 = fc.oneof(fc.nat(0xffff), fc.nat(0xffff_ffff));
export const u64 = fc.oneof(fc.bigInt(0n, 0xffffn), fc.bigInt(0n, (1n << 64n) - 1n));
const data = fc.uint8Array({ maxLength: 64 });

const atLeast = (min: number): fc.Arbitrary<number> =>
  fc.oneof(fc.constant(min), fc.integer({ min, max: 0xffff_ffff }));

/** Two numbers whose sum stays within 2^64; the second is at least `least`. */
const range = (least = 1n): fc.Arbitrary<[bigint, bigint]> =>
  u64
    .chain((start) => {
      const first = start > (1n << 64n) - least ? 0n : start;
      return fc.tuple(fc.constant(first), fc.bigInt(least, (1n << 64n) - first));
    })
    .filter(([, size]) => size < 1n << 64n);

const version = fc.record({
  major: u16,
  minor: u16,
  data: fc.option(
    fc.record(
      {
        capabilities: fc.record(
          {
            max_msg_fds: fc.nat(64),
            max_data_xfer_size: u32,
            max_dma_maps: u32,
            pgsizes: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
            twin_socket: fc.record({ supported: fc.boolean(), fd_index: fc.nat(8) }, { requiredKeys: [] }),
            write_multiple: fc.boolean(),
            migration: fc.record(
              { pgsize: fc.nat(31).map((bit) => 2 ** bit), max_bitmap_size: u32 },
              { requiredKeys: [] },
            ),
            x_of_a_newer_peer: fc.oneof(fc.string(), fc.boolean(), fc.constant(null), fc.array(fc.nat())),
          },
          { requiredKeys: [] },
        ),
      },
      { requiredKeys: [] },
    ),
    { nil: undefined },
  ),
});

const dmaUnmap = fc.oneof(
  range().map(([address, size]) => ({ argsz: 24, flags: 0, address, size })),
  fc.constant({ argsz: 24, flags: 2, address: 0n, size: 0n }),
);

const deviceInfo = fc.record({ argsz: atLeast(16), flags: u32, num_regions: u32, num_irqs: u32 });
const irqInfo = fc.record({ argsz: atLeast(16), flags: u32, index: u32, count: u32 });

const capability: fc.Arbitrary<RegionCapability> = fc.oneof(
  fc.record({
    kind: fc.constant("sparse-mmap" as const),
    version: u16,
    areas: fc.array(fc.record({ offset: u64, size: u64 }), { maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("type" as const), version: u16, type: u32, subtype: u32 }),
  fc.record({ kind: fc.constant("msix-mappable" as const), version: u16 }),
  fc.record({
    kind: fc.constant("other" as const),
    id: fc.integer({ min: 4, max: 0xffff }),
    version: u16,
    data: fc.nat(4).chain((eights) => fc.uint8Array({ minLength: eights * 8, maxLength: eights * 8 })),
  }),
);

const regionInfo = fc
  .tuple(fc.array(capability, { maxLength: 4 }), u32, u32, u64, u64)
  .map(([capabilities, flags, index, size, offset]) => {
    const some = capabilities.length > 0;
    const value = {
      argsz: RegionInfo.size,
      flags: (some ? flags | RegionFlags.CAPS : flags & ~RegionFlags.CAPS) >>> 0,
      index,
      cap_offset: some ? RegionInfo.size : 0,
      size,
      offset,
      capabilities,
    };
    return { ...value, argsz: RegionInfo.length(value) };
  });

const subRegion = fc.record({
  offset: u64,
  size: u64,
  fd_index: u32,
  type: u32,
  flags: u32,
  padding: u32,
  datamatch: u64,
});
const shadowSubRegion = fc.record({
  offset: u64,
  size: u64,
  fd_index: u32,
  type: u32,
  flags: u32,
  shadow_mem_fd_index: u32,
  shadow_offset: u64,
  datamatch: u64,
});
const regionIoFds = fc.oneof(
  fc.array(subRegion, { maxLength: 4 }).map((sub_regions) => ({ sub_regions, each: SubRegion.size })),
  fc
    .array(shadowSubRegion, { maxLength: 4 })
    .map((sub_regions) => ({ sub_regions, each: ShadowSubRegion.size })),
);

const setIrqs = fc
  .tuple(
    fc.constantFrom(IrqSetFlags.DATA_NONE, IrqSetFlags.DATA_BOOL, IrqSetFlags.DATA_EVENTFD),
    fc.constantFrom(IrqSetFlags.ACTION_MASK, IrqSetFlags.ACTION_UNMASK, IrqSetFlags.ACTION_TRIGGER),
    u32,
    fc.nat(0xffff),
    fc.integer({ min: 1, max: 64 }),
    fc.boolean(),
  )
  .map(([kind, action, index, start, count, disable]) =>
    disable
      ? { argsz: 20, flags: 0x21, index, start: 0, count: 0, data: new Uint8Array() }
      : {
          argsz: 20,
          flags: kind | action,
          index,
          start,
          count,
          data: new Uint8Array(kind === IrqSetFlags.DATA_BOOL ? count : 0).fill(1),
        },
  );

const regionAccess = fc
  .tuple(range(0n), u32)
  .map(([[offset, room], region]) => ({ offset, region, count: Number(room & 0xffffn) }));
const regionData = fc
  .tuple(fc.bigInt(0n, 1n << 63n), u32, data)
  .map(([offset, region, bytes]) => ({ offset, region, count: bytes.length, data: bytes }));
const dmaAccess = range(0n).map(([address, count]) => ({ address, count }));
const dmaData = fc
  .tuple(fc.bigInt(0n, 1n << 63n), data)
  .map(([address, bytes]) => ({ address, count: BigInt(bytes.length), data: bytes }));

const writeMulti = fc
  .array(
    fc.record({
      offset: fc.bigInt(0n, 1n << 63n),
      region: u32,
      count: fc.nat(8),
      data: fc.uint8Array({ minLength: 8, maxLength: 8 }),
    }),
    { maxLength: 5 },
  )
  .map((wrs) => ({ wr_cnt: BigInt(wrs.length), wrs }));

const migrationData = data.map((bytes) => ({ argsz: 8 + bytes.length, size: bytes.length, data: bytes }));

const pageSize = fc.integer({ min: 0, max: 30 }).map((shift) => 1n << BigInt(shift));
const control = fc.tuple(pageSize, fc.array(range(), { maxLength: 4 })).map(([page_size, ranges]) =>
  FeatureDmaLoggingControl.encode({
    page_size,
    num_ranges: ranges.length,
    reserved: 0,
    ranges: ranges.map(([iova, length]) => ({ iova, length })),
  }),
);
const report = fc
  .tuple(u32.map(BigInt), fc.bigInt(1n, 1n << 16n), pageSize)
  .map(([iova, length, page_size]) => ({ iova, length, page_size }));
const migState = fc
  .tuple(u32, fc.integer())
  .map(([device_state, data_fd]) => FeatureMigState.encode({ device_state, data_fd }));

const feature = (flags: number, bytes: fc.Arbitrary<Uint8Array>) =>
  bytes.map((value) => ({ argsz: Math.max(64, 8 + value.length), flags, data: value }));
const { GET, SET, PROBE } = FeatureFlags;
const nothing = fc.constant(new Uint8Array());

const featureRequest = fc.oneof(
  feature(GET | Feature.MIGRATION, nothing),
  feature(GET | Feature.MIG_DEVICE_STATE, nothing),
  feature(SET | Feature.MIG_DEVICE_STATE, migState),
  feature(SET | Feature.DMA_LOGGING_START, control),
  feature(SET | Feature.DMA_LOGGING_STOP, nothing),
  report.map((value) => ({
    argsz: 32 + Number(bitmapSize(value.length, value.page_size)),
    flags: GET | Feature.DMA_LOGGING_REPORT,
    data: FeatureDmaLoggingReportRequest.encode(value),
  })),
  feature(GET | Feature.MIG_DATA_SIZE, nothing),
  feature(GET | Feature.MIG_PRECOPY_INFO, nothing),
  feature(SET | Feature.MIG_PRECOPY_INFO, nothing),
  feature(PROBE | GET | SET | 0x1234, nothing),
  feature(SET | 0x1234, data),
);
const featureReply = fc.oneof(
  feature(
    GET | Feature.MIGRATION,
    u64.map((flags) => FeatureMigration.encode({ flags })),
  ),
  feature(GET | Feature.MIG_DEVICE_STATE, migState),
  feature(SET | Feature.MIG_DEVICE_STATE, migState),
  feature(SET | Feature.DMA_LOGGING_START, control),
  feature(
    GET | Feature.DMA_LOGGING_REPORT,
    fc.tuple(report, data).map(([value, bitmap]) => FeatureDmaLoggingReport.encode({ ...value, bitmap })),
  ),
  feature(
    GET | Feature.MIG_DATA_SIZE,
    u64.map((stop_copy_length) => FeatureMigDataSize.encode({ stop_copy_length })),
  ),
  feature(
    GET | Feature.MIG_PRECOPY_INFO,
    fc
      .record({ argsz: u32, flags: u32, initial_bytes: u64, dirty_bytes: u64 })
      .map((info) => FeaturePrecopyInfo.encode(info)),
  ),
  feature(PROBE | Feature.MIGRATION, nothing),
);

const empty = fc.constant({});

type Arbitraries = {
  readonly [C in CommandName]: readonly [fc.Arbitrary<RequestPayload<C>>, fc.Arbitrary<ReplyPayload<C>>];
};

/** Payloads that the rules allow: request and reply of each command. */
export const payloads: Arbitraries = {
  VERSION: [version, version],
  DMA_MAP: [
    fc.tuple(range(), fc.nat(15), atLeast(32)).map(([[address, size], flags, argsz]) => ({
      argsz,
      flags,
      offset: 0n,
      address,
      size,
    })),
    empty,
  ],
  DMA_UNMAP: [dmaUnmap, dmaUnmap],
  DEVICE_GET_INFO: [deviceInfo, deviceInfo],
  DEVICE_GET_REGION_INFO: [
    fc.record({ argsz: atLeast(32), flags: u32, index: u32, cap_offset: u32, size: u64, offset: u64 }),
    regionInfo,
  ],
  DEVICE_GET_REGION_IO_FDS: [
    fc.record({ argsz: atLeast(16), flags: fc.constant(0), index: u32, count: fc.constant(0) }),
    fc.tuple(regionIoFds, u32, u32).map(([{ sub_regions, each }, flags, index]) => ({
      argsz: 16 + each * sub_regions.length,
      flags,
      index,
      count: sub_regions.length,
      sub_regions,
    })),
  ],
  DEVICE_GET_IRQ_INFO: [irqInfo, irqInfo],
  DEVICE_SET_IRQS: [setIrqs, empty],
  REGION_READ: [regionAccess, regionData],
  REGION_WRITE: [regionData, regionAccess],
  DMA_READ: [dmaAccess, dmaData],
  DMA_WRITE: [dmaData, fc.option(dmaAccess, { nil: undefined }).map((written) => ({ written }))],
  DEVICE_RESET: [empty, empty],
  REGION_WRITE_MULTI: [writeMulti, u64.map((wr_cnt) => ({ wr_cnt }))],
  DEVICE_FEATURE: [featureRequest, featureReply],
  MIG_DATA_READ: [fc.nat(0xffff).map((size) => ({ argsz: 8 + size, size })), migrationData],
  MIG_DATA_WRITE: [migrationData, empty],
};

const commands = Object.keys(Command) as CommandName[];

/** Any valid message. */
export const message: fc.Arbitrary<Message> = fc.oneof(
  ...commands.flatMap((command) => {
    const [request, reply] = payloads[command] as readonly [fc.Arbitrary<unknown>, fc.Arbitrary<unknown>];
    return [
      fc.record({
        kind: fc.constant("request"),
        command: fc.constant(command),
        msg_id: u16,
        no_reply: fc.boolean(),
        payload: request,
      }),
      fc.record({ kind: fc.constant("reply"), command: fc.constant(command), msg_id: u16, payload: reply }),
      fc.record({ kind: fc.constant("error"), command: fc.constant(command), msg_id: u16, errno: u32 }),
    ] as unknown as fc.Arbitrary<Message>[];
  }),
);
