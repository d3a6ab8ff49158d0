import { describe, expect, it } from "vitest";
import * as wire from "@vfiokit/user/wire";
import type { Fields, Struct } from "@vfiokit/user/wire";

/**
 * Offsets and sizes as a C compiler has them for the structs of vfio-user.h (libvfio-user) and linux/vfio.h, and as
 * the tables of the specification print them. The last column is the size of the fixed part.
 */
const layouts: readonly (readonly [Struct<Fields>, Readonly<Record<string, number>>, number])[] = [
  [wire.Header, { msg_id: 0, cmd: 2, msg_size: 4, flags: 8, error_no: 12 }, 16],
  [wire.Version, { major: 0, minor: 2, data: 4 }, 4],
  [wire.DmaMap, { argsz: 0, flags: 4, offset: 8, address: 16, size: 24 }, 32],
  [wire.DmaUnmap, { argsz: 0, flags: 4, address: 8, size: 16 }, 24],
  [wire.DeviceInfo, { argsz: 0, flags: 4, num_regions: 8, num_irqs: 12 }, 16],
  [wire.RegionInfoRequest, { argsz: 0, flags: 4, index: 8, cap_offset: 12, size: 16, offset: 24 }, 32],
  [
    wire.RegionInfo,
    { argsz: 0, flags: 4, index: 8, cap_offset: 12, size: 16, offset: 24, capabilities: 32 },
    32,
  ],
  [wire.CapHeader, { id: 0, version: 2, next: 4 }, 8],
  [wire.SparseMmapCap, { id: 0, version: 2, next: 4, nr_areas: 8, reserved: 12, areas: 16 }, 16],
  [wire.SparseMmapArea, { offset: 0, size: 8 }, 16],
  [wire.TypeCap, { id: 0, version: 2, next: 4, type: 8, subtype: 12 }, 16],
  [wire.RegionIoFdsRequest, { argsz: 0, flags: 4, index: 8, count: 12 }, 16],
  [wire.RegionIoFds, { argsz: 0, flags: 4, index: 8, count: 12, sub_regions: 16 }, 16],
  [wire.SubRegion, { offset: 0, size: 8, fd_index: 16, type: 20, flags: 24, padding: 28, datamatch: 32 }, 40],
  [
    wire.ShadowSubRegion,
    {
      offset: 0,
      size: 8,
      fd_index: 16,
      type: 20,
      flags: 24,
      shadow_mem_fd_index: 28,
      shadow_offset: 32,
      datamatch: 40,
    },
    48,
  ],
  [wire.IrqInfo, { argsz: 0, flags: 4, index: 8, count: 12 }, 16],
  [wire.IrqSet, { argsz: 0, flags: 4, index: 8, start: 12, count: 16, data: 20 }, 20],
  [wire.RegionAccess, { offset: 0, region: 8, count: 12 }, 16],
  [wire.RegionData, { offset: 0, region: 8, count: 12, data: 16 }, 16],
  [wire.DmaAccess, { address: 0, count: 8 }, 16],
  [wire.DmaData, { address: 0, count: 8, data: 16 }, 16],
  [wire.RegionWriteMulti, { wr_cnt: 0, wrs: 8 }, 8],
  [wire.SingleWrite, { offset: 0, region: 8, count: 12, data: 16 }, 24],
  [wire.RegionWriteMultiReply, { wr_cnt: 0 }, 8],
  [wire.DeviceFeature, { argsz: 0, flags: 4, data: 8 }, 8],
  [wire.FeatureMigration, { flags: 0 }, 8],
  [wire.FeatureMigState, { device_state: 0, data_fd: 4 }, 8],
  [wire.FeatureDmaLoggingControl, { page_size: 0, num_ranges: 8, reserved: 12, ranges: 16 }, 16],
  [wire.DmaLoggingRange, { iova: 0, length: 8 }, 16],
  [wire.FeatureDmaLoggingReportRequest, { iova: 0, length: 8, page_size: 16 }, 24],
  [wire.FeatureDmaLoggingReport, { iova: 0, length: 8, page_size: 16, bitmap: 24 }, 24],
  [wire.FeatureMigDataSize, { stop_copy_length: 0 }, 8],
  [wire.FeaturePrecopyInfo, { argsz: 0, flags: 4, initial_bytes: 8, dirty_bytes: 16 }, 24],
  [wire.MigrationDataRequest, { argsz: 0, size: 4 }, 8],
  [wire.MigrationData, { argsz: 0, size: 4, data: 8 }, 8],
];

describe("structs have the layout of their C counterparts", () => {
  it.each(layouts.map(([struct, offset, size]) => [struct.name, struct, offset, size] as const))(
    "%s",
    (_name, struct, offset, size) => {
      expect({ offset: { ...struct.offset }, size: struct.size }).toEqual({ offset, size });
    },
  );

  it("every exported struct is in the table", () => {
    const exported = Object.values(wire).filter((value) => value instanceof wire.Struct);
    expect(new Set(layouts.map(([struct]) => struct))).toEqual(
      new Set(exported.filter((struct) => struct !== (wire.DmaWritten as unknown))),
    );
  });
});

it("commands have the numbers of the specification's table; 14 is free", () => {
  expect(wire.Command).toEqual({
    VERSION: 1,
    DMA_MAP: 2,
    DMA_UNMAP: 3,
    DEVICE_GET_INFO: 4,
    DEVICE_GET_REGION_INFO: 5,
    DEVICE_GET_REGION_IO_FDS: 6,
    DEVICE_GET_IRQ_INFO: 7,
    DEVICE_SET_IRQS: 8,
    REGION_READ: 9,
    REGION_WRITE: 10,
    DMA_READ: 11,
    DMA_WRITE: 12,
    DEVICE_RESET: 13,
    REGION_WRITE_MULTI: 15,
    DEVICE_FEATURE: 16,
    MIG_DATA_READ: 17,
    MIG_DATA_WRITE: 18,
  });
  expect(Object.keys(wire.messages).sort()).toEqual(Object.keys(wire.Command).sort());
});

it("only DMA_READ and DMA_WRITE go from the server to the client", () => {
  const fromServer = Object.entries(wire.messages).filter(([, { from }]) => from === "server");
  expect(fromServer.map(([name]) => name)).toEqual(["DMA_READ", "DMA_WRITE"]);
});

it("a DMA_MAP, byte by byte", () => {
  const bytes = wire.encodeRequest("DMA_MAP", 0x0102, {
    argsz: 32,
    flags: wire.DmaMapFlags.READ | wire.DmaMapFlags.WRITE,
    offset: 0x1000n,
    address: 0xfee0_0000n,
    size: 0x1_0000_0000n,
  });
  // prettier-ignore
  expect([...bytes]).toEqual([
    0x02, 0x01, 2, 0,  48, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
    32, 0, 0, 0,  3, 0, 0, 0,
    0, 0x10, 0, 0, 0, 0, 0, 0,
    0, 0, 0xe0, 0xfe, 0, 0, 0, 0,
    0, 0, 0, 0, 1, 0, 0, 0,
  ]);
});
