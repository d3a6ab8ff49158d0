import { expect, it } from "vitest";
import { MigrationState } from "@vfiokit/core/migration";
import { RegionFlags } from "@vfiokit/core/host";
import {
  describeMessage,
  encodeError,
  encodeReply,
  encodeRequest,
  Feature,
  FeatureFlags,
  FeatureMigState,
  formatDescription,
  IrqSetFlags,
  refusalText,
  WireError,
} from "@vfiokit/user/wire";

const text = (bytes: Uint8Array): string => formatDescription(describeMessage(bytes));

it("fields one below the other, addresses in hex, flags by name", () => {
  const map = { argsz: 32, flags: 0x23, offset: 0n, address: 0xfee0_0000n, size: 0x1000n };
  expect(text(encodeRequest("DMA_MAP", 7, { ...map, flags: 3 }))).toBe(
    [
      "DMA_MAP request 7, 48 bytes",
      "  argsz 32",
      "  flags 0x3 READ|WRITE",
      "  offset 0x0",
      "  address 0xfee00000",
      "  size 0x1000",
    ].join("\n"),
  );
});

it("why a message is refused: a malformed one is shown, any other is not", () => {
  const bytes = encodeRequest("DMA_UNMAP", 7, { argsz: 24, flags: 0, address: 0x1000n, size: 0x1000n });
  expect(refusalText(new Error("no such map"), bytes)).toBe("no such map");
  const error = new WireError("vfio_user_dma_unmap.argsz", "23", "24 or more");
  expect(refusalText(error, bytes)).toBe(
    [
      "EINVAL: vfio_user_dma_unmap.argsz is 23: 24 or more",
      "DMA_UNMAP request 7, 40 bytes",
      "  argsz 24",
      "  flags 0x0",
      "  address 0x1000",
      "  size 0x1000",
    ].join("\n"),
  );
});

it("unknown bits are marked", () => {
  const info = { argsz: 16, flags: 0x101, index: 2, count: 5 };
  expect(text(encodeReply("DEVICE_GET_IRQ_INFO", 1, info))).toContain("flags 0x101 EVENTFD|0x100?");
});

it("capabilities of a version", () => {
  const data = { capabilities: { max_msg_fds: 8, twin_socket: { supported: true } } };
  expect(text(encodeRequest("VERSION", 1, { major: 0, minor: 1, data }))).toBe(
    [
      "VERSION request 1, 88 bytes",
      "  major 0",
      "  minor 1",
      "  data",
      "    capabilities",
      "      max_msg_fds 8",
      "      twin_socket",
      "        supported true",
    ].join("\n"),
  );
});

it("capabilities of a region", () => {
  const bytes = encodeReply("DEVICE_GET_REGION_INFO", 1, {
    argsz: 64,
    flags: RegionFlags.READ | RegionFlags.CAPS,
    index: 0,
    cap_offset: 32,
    size: 0x4000n,
    offset: 0n,
    capabilities: [{ kind: "sparse-mmap", version: 1, areas: [{ offset: 0x1000n, size: 0x3000n }] }],
  });
  expect(text(bytes)).toContain("  capability sparse-mmap v1, 1 areas\n    [0] offset 0x1000, size 0x3000");
});

it("a feature: its name, its operation, its data", () => {
  const bytes = encodeRequest("DEVICE_FEATURE", 1, {
    argsz: 16,
    flags: FeatureFlags.SET | Feature.MIG_DEVICE_STATE,
    data: FeatureMigState.encode({ device_state: MigrationState.STOP_COPY, data_fd: -1 }),
  });
  expect(text(bytes)).toContain(
    "flags 0x20002 MIG_DEVICE_STATE|SET\n  device_state 3 STOP_COPY\n  data_fd -1",
  );
});

it("interrupts and data", () => {
  const flags = IrqSetFlags.DATA_BOOL | IrqSetFlags.ACTION_MASK;
  const data = new Uint8Array([1, 0]);
  const set = { argsz: 22, flags, index: 2, start: 0, count: 2, data };
  expect(text(encodeRequest("DEVICE_SET_IRQS", 1, set))).toContain("flags 0xa DATA_BOOL|ACTION_MASK");
  expect(text(encodeRequest("DEVICE_SET_IRQS", 1, set))).toContain("data 01 00");
});

it("long data is cut", () => {
  const data = new Uint8Array(4096);
  const shown = text(encodeReply("REGION_READ", 1, { offset: 0n, region: 7, count: 4096, data }));
  expect(shown).toContain("00 … (4096 bytes)");
  expect(shown.length).toBeLessThan(250);
});

it("an error by name", () => {
  expect(text(encodeError(2, 9, 17))).toBe("DMA_MAP reply 9: EEXIST");
});

it("malformed: what can be read, and what is wrong", () => {
  const bytes = encodeRequest("REGION_READ", 3, { offset: 0n, region: 1, count: 4 });
  expect(text(bytes.subarray(0, 20))).toContain("! EINVAL: vfio_user_header.msg_size is 32");
  expect(text(bytes.subarray(0, 3))).toBe(
    "3 bytes\n  data 03 00 09\n  ! EINVAL: vfio_user_header is 3 bytes: it needs 16",
  );
  new DataView(bytes.buffer).setUint16(2, 99, true);
  expect(text(bytes)).toContain("command 99 request 3, 32 bytes");
});
