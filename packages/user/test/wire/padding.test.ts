import { expect, it } from "vitest";
import { RegionFlags } from "@vfiokit/core/host";
import { decodeMessage, encodeReply, MigrationData } from "@vfiokit/user/wire";
import { describeRegion } from "../../src/client/region.js";

it("a MIG_DATA_READ reply that is padded to what was asked for, as libvfio-user's: only `size` bytes are taken", () => {
  const data = new Uint8Array(64).fill(0xee);
  data.set([1, 2, 3]);
  const message = encodeReply("MIG_DATA_READ", 1, { argsz: MigrationData.size + 3, size: 3, data });
  expect(decodeMessage(message)).toMatchObject({ payload: { size: 3, data: Uint8Array.of(1, 2, 3) } });
});

it("a MIG_DATA_READ reply that holds less than its size is refused", () => {
  const message = encodeReply("MIG_DATA_READ", 1, { argsz: 11, size: 3, data: Uint8Array.of(1, 2, 3) });
  const short = message.slice(0, -1);
  new DataView(short.buffer).setUint32(4, short.length, true);
  expect(() => decodeMessage(short)).toThrow("the message holds 2 bytes of data");
});

it("a region with CAPS and cap_offset 0 is not taken for mappable as a whole", () => {
  const { READ, MMAP, CAPS } = RegionFlags;
  const region = { argsz: 32, index: 2, cap_offset: 0, size: 0x4000n, offset: 0n, capabilities: [] };
  expect(describeRegion({ ...region, flags: READ | MMAP | CAPS }).mmapAreas).toEqual([]);
  expect(describeRegion({ ...region, flags: READ | MMAP }).mmapAreas).toEqual([{ offset: 0, size: 0x4000 }]);
});
