import { describe, expect, it } from "vitest";
import { Errno } from "@vfiokit/core";
import {
  Command,
  decodeMessage,
  encodeReply,
  encodeRequest,
  Feature,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  IrqSetFlags,
  messages,
  messageSize,
  Type,
  WireError,
  type CommandName,
  type Fields,
  type RequestPayload,
  type Struct,
} from "@vfiokit/user/wire";

/** A message of raw bytes, such as no encoder would produce. */
function raw(cmd: number, body: Uint8Array, flags: number = Type.COMMAND): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + body.length);
  Header.write(
    { msg_id: 1, cmd, msg_size: bytes.length, flags, error_no: 0 },
    bytes.subarray(0, HEADER_SIZE),
  );
  bytes.set(body, HEADER_SIZE);
  return bytes;
}

/** A request encoded by its layout alone, without the rules. */
function request<C extends CommandName>(command: C, payload: RequestPayload<C>): Uint8Array {
  const struct = messages[command].request.struct as unknown as Struct<Fields>;
  return raw(Command[command], struct.encode(payload));
}

function refusal(run: () => unknown): WireError {
  try {
    run();
  } catch (error) {
    if (error instanceof WireError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

/** A server refuses this request because of `field`, and a client does not get to send it. */
function refuses<C extends CommandName>(command: C, payload: RequestPayload<C>, field: string): WireError {
  refusal(() => encodeRequest(command, 1, payload));
  const error = refusal(() => decodeMessage(request(command, payload)));
  expect(error.field).toBe(field);
  expect(error.errno).toBe(Errno.EINVAL);
  return error;
}

function accepts<C extends CommandName>(command: C, payload: RequestPayload<C>): void {
  expect(decodeMessage(encodeRequest(command, 1, payload))).toMatchObject({ command, payload });
}

const END = 1n << 64n;
const none = new Uint8Array();

describe("header", () => {
  const header = (fields: Partial<Record<"cmd" | "msg_size" | "flags", number>>): Uint8Array =>
    Header.encode({ msg_id: 1, cmd: Command.DEVICE_RESET, msg_size: 16, flags: 0, error_no: 0, ...fields });

  it.each([0, 15])("msg_size %i is below the header's own size", (msg_size) => {
    expect(refusal(() => decodeMessage(header({ msg_size }))).field).toBe("vfio_user_header.msg_size");
  });

  it("msg_size above the limit: the receiver is told before it has to allocate", () => {
    const view = new DataView(header({ msg_size: 0x7fff_ffff }).buffer);
    expect(refusal(() => messageSize(view, 0, 1 << 20)).errno).toBe(Errno.EMSGSIZE);
    expect(messageSize(view, 0, 0x7fff_ffff)).toBe(0x7fff_ffff);
  });

  it("msg_size and the bytes at hand disagree", () => {
    expect(refusal(() => decodeMessage(header({ msg_size: 17 }))).field).toBe("vfio_user_header.msg_size");
    const longer = new Uint8Array(20);
    longer.set(header({ msg_size: 16 }));
    expect(refusal(() => decodeMessage(longer)).field).toBe("vfio_user_header.msg_size");
  });

  it("a header cut short", () => {
    expect(refusal(() => decodeMessage(header({}).subarray(0, 15))).field).toBe("vfio_user_header");
  });

  it.each([0, 14, 19, 0xffff])("command %i does not exist", (cmd) => {
    expect(refusal(() => decodeMessage(header({ cmd }))).field).toBe("vfio_user_header.cmd");
  });

  it("a type that is neither command nor reply", () => {
    expect(refusal(() => decodeMessage(header({ flags: 2 }))).field).toBe("vfio_user_header.flags");
  });

  it("No_reply and Error", () => {
    expect(decodeMessage(header({ flags: HeaderFlags.NO_REPLY }))).toMatchObject({ no_reply: true });
    const error = header({ flags: Type.REPLY | HeaderFlags.ERROR });
    expect(decodeMessage(error)).toEqual({ kind: "error", command: "DEVICE_RESET", msg_id: 1, errno: 0 });
  });

  it("every payload cut short by one byte of its fixed part is refused", () => {
    for (const command of Object.keys(Command) as CommandName[]) {
      const { size } = messages[command].request.struct;
      if (size === 0) continue;
      const error = refusal(() => decodeMessage(raw(Command[command], new Uint8Array(size - 1))));
      expect(error.rule).toBe(`it needs ${size}`);
    }
  });
});

describe("VERSION", () => {
  const version = (text: string | Uint8Array): Uint8Array => {
    const data = typeof text === "string" ? new TextEncoder().encode(text) : text;
    return raw(Command.VERSION, new Uint8Array([0, 0, 1, 0, ...data]));
  };
  const capabilities = (text: string): Uint8Array => version(`{"capabilities":${text}}\0`);

  it("without data: all defaults", () => {
    expect(decodeMessage(version(""))).toMatchObject({ payload: { major: 0, minor: 1, data: undefined } });
  });

  it.each(["{}\0", '{"capabilities":{}}\0', '{"other":1}\0', ' {"capabilities" : {} } \0', "{}\0garbage\0"])(
    "%j is fine",
    (text) => {
      expect(decodeMessage(version(text))).toMatchObject({ command: "VERSION" });
    },
  );

  it.each([
    ["{}", "not terminated"],
    ["\0", "malformed"],
    ["{\0", "malformed"],
    ['{"capabilities":{"max_msg_fds":1}\0', "malformed"],
    ["null\0", "null"],
    ["[]\0", "an array"],
    ["7\0", "7"],
    ['"{}"\0', '"{}"'],
  ])("%j is refused: %s", (text, value) => {
    expect(refusal(() => decodeMessage(version(text)))).toMatchObject({ value, errno: Errno.EINVAL });
  });

  it("text that is no UTF-8", () => {
    const bytes = new Uint8Array([...new TextEncoder().encode('{"a":"'), 0xff, 0xfe, 0x22, 0x7d, 0]);
    expect(refusal(() => decodeMessage(version(bytes))).value).toBe("malformed");
  });

  it.each(["[", '{"a":'])("nesting without end: %s…", (opening) => {
    const error = refusal(() => decodeMessage(version(`${opening.repeat(10_000)}\0`)));
    expect(error.rule).toContain("levels");
  });

  it("brackets inside a string are not nesting", () => {
    expect(() => decodeMessage(version(`{"a":"${"[".repeat(100)}\\"${"{".repeat(100)}"}\0`))).not.toThrow();
  });

  it("more text than anyone needs", () => {
    expect(refusal(() => decodeMessage(version(`{"a":"${"x".repeat(70_000)}"}\0`))).value).toContain("bytes");
  });

  it.each([
    ["[]", "vfio_user_version.data.capabilities"],
    ["null", "vfio_user_version.data.capabilities"],
    ['{"max_msg_fds":"8"}', "vfio_user_version.data.capabilities.max_msg_fds"],
    ['{"max_msg_fds":-1}', "vfio_user_version.data.capabilities.max_msg_fds"],
    ['{"max_msg_fds":1025}', "vfio_user_version.data.capabilities.max_msg_fds"],
    ['{"migration":{"pgsize":4095}}', "vfio_user_version.data.capabilities.migration.pgsize"],
    ['{"max_data_xfer_size":1.5}', "vfio_user_version.data.capabilities.max_data_xfer_size"],
    ['{"max_data_xfer_size":1e300}', "vfio_user_version.data.capabilities.max_data_xfer_size"],
    ['{"max_dma_maps":null}', "vfio_user_version.data.capabilities.max_dma_maps"],
    ['{"pgsizes":true}', "vfio_user_version.data.capabilities.pgsizes"],
    ['{"write_multiple":1}', "vfio_user_version.data.capabilities.write_multiple"],
    ['{"twin_socket":true}', "vfio_user_version.data.capabilities.twin_socket"],
    ['{"twin_socket":{"supported":"yes"}}', "vfio_user_version.data.capabilities.twin_socket.supported"],
    ['{"twin_socket":{"fd_index":-1}}', "vfio_user_version.data.capabilities.twin_socket.fd_index"],
    ['{"migration":{"pgsize":"4k"}}', "vfio_user_version.data.capabilities.migration.pgsize"],
  ])("capabilities %s have a wrong type", (text, field) => {
    expect(refusal(() => decodeMessage(capabilities(text))).field).toBe(field);
  });

  it("page sizes of a whole 64-bit mask, exactly", () => {
    const message = decodeMessage(capabilities('{"pgsizes":18446744073709547520}'));
    if (message.command !== "VERSION" || message.kind !== "request") throw new Error("not a VERSION");
    expect(BigInt(message.payload.data!.capabilities!.pgsizes!)).toBe(0xffff_ffff_ffff_f000n);
  });

  it("__proto__ in the JSON is a key like any other", () => {
    expect(() => decodeMessage(version('{"__proto__":{"capabilities":7}}\0'))).not.toThrow();
  });
});

describe("DMA_MAP", () => {
  const map = { argsz: 32, flags: 3, offset: 0n, address: 0x1000n, size: 0x1000n };
  it("up to the very end of the address space", () => accepts("DMA_MAP", { ...map, address: END - 0x1000n }));
  it("argsz", () => refuses("DMA_MAP", { ...map, argsz: 31 }, "vfio_user_dma_map.argsz"));
  it("unknown flags, named", () => {
    expect(refuses("DMA_MAP", { ...map, flags: 0x13 }, "vfio_user_dma_map.flags").message).toContain("0x10");
  });
  it("size zero", () => refuses("DMA_MAP", { ...map, size: 0n }, "vfio_user_dma_map.size"));
  it("wrap", () => refuses("DMA_MAP", { ...map, address: END - 1n }, "vfio_user_dma_map.size"));
  it("offset wraps", () => refuses("DMA_MAP", { ...map, offset: END - 1n }, "vfio_user_dma_map.offset"));
});

describe("DMA_UNMAP", () => {
  const unmap = { argsz: 24, flags: 0, address: 0x1000n, size: 0x1000n };
  it("one", () => accepts("DMA_UNMAP", unmap));
  it("all", () => accepts("DMA_UNMAP", { argsz: 24, flags: 2, address: 0n, size: 0n }));
  it("argsz", () => refuses("DMA_UNMAP", { ...unmap, argsz: 23 }, "vfio_user_dma_unmap.argsz"));
  it("all, but with a size", () =>
    refuses("DMA_UNMAP", { ...unmap, flags: 2, address: 0n }, "vfio_user_dma_unmap.size"));
  it("all, but at an address", () =>
    refuses("DMA_UNMAP", { ...unmap, flags: 2 }, "vfio_user_dma_unmap.address"));
  it("dirty bitmap", () => refuses("DMA_UNMAP", { ...unmap, flags: 1 }, "vfio_user_dma_unmap.flags"));
  it("unknown flag", () => refuses("DMA_UNMAP", { ...unmap, flags: 4 }, "vfio_user_dma_unmap.flags"));
  it("size zero", () => refuses("DMA_UNMAP", { ...unmap, size: 0n }, "vfio_user_dma_unmap.size"));
  it("wrap", () => refuses("DMA_UNMAP", { ...unmap, address: END - 1n }, "vfio_user_dma_unmap.size"));
});

describe("queries", () => {
  it("DEVICE_GET_INFO argsz", () =>
    refuses(
      "DEVICE_GET_INFO",
      { argsz: 15, flags: 0, num_regions: 0, num_irqs: 0 },
      "vfio_user_device_info.argsz",
    ));
  it("DEVICE_GET_REGION_INFO argsz", () =>
    refuses(
      "DEVICE_GET_REGION_INFO",
      { argsz: 31, flags: 0, index: 0, cap_offset: 0, size: 0n, offset: 0n },
      "vfio_region_info.argsz",
    ));
  it("DEVICE_GET_REGION_INFO sent again with what came back", () =>
    accepts("DEVICE_GET_REGION_INFO", {
      argsz: 64,
      flags: 15,
      index: 0,
      cap_offset: 32,
      size: 1n,
      offset: 1n,
    }));
  it("DEVICE_GET_IRQ_INFO argsz", () =>
    refuses("DEVICE_GET_IRQ_INFO", { argsz: 15, flags: 0, index: 0, count: 0 }, "vfio_irq_info.argsz"));
  it("DEVICE_GET_REGION_IO_FDS argsz, flags and count", () => {
    const struct = "vfio_user_region_io_fds_request";
    const io = { argsz: 16, flags: 0, index: 0, count: 0 };
    refuses("DEVICE_GET_REGION_IO_FDS", { ...io, argsz: 15 }, `${struct}.argsz`);
    refuses("DEVICE_GET_REGION_IO_FDS", { ...io, flags: 1 }, `${struct}.flags`);
    refuses("DEVICE_GET_REGION_IO_FDS", { ...io, count: 1 }, `${struct}.count`);
  });
});

describe("DEVICE_SET_IRQS", () => {
  const { DATA_NONE, DATA_BOOL, DATA_EVENTFD, ACTION_MASK, ACTION_TRIGGER } = IrqSetFlags;
  const set = { argsz: 20, flags: DATA_NONE | ACTION_TRIGGER, index: 0, start: 0, count: 1, data: none };
  it("trigger", () => accepts("DEVICE_SET_IRQS", set));
  it("disable the index", () => accepts("DEVICE_SET_IRQS", { ...set, count: 0 }));
  it("argsz", () => refuses("DEVICE_SET_IRQS", { ...set, argsz: 19 }, "vfio_irq_set.argsz"));
  it.each([
    ACTION_TRIGGER,
    DATA_NONE | DATA_BOOL | ACTION_TRIGGER,
    DATA_NONE,
    DATA_NONE | ACTION_MASK | ACTION_TRIGGER,
    0x61,
  ])(
    "flags 0x%x are not one DATA and one ACTION",
    (flags) => void refuses("DEVICE_SET_IRQS", { ...set, flags: flags }, "vfio_irq_set.flags"),
  );
  it("booleans: one each", () => {
    const flags = DATA_BOOL | ACTION_MASK;
    accepts("DEVICE_SET_IRQS", { ...set, argsz: 23, flags, count: 3, data: new Uint8Array(3) });
    refuses(
      "DEVICE_SET_IRQS",
      { ...set, argsz: 23, flags, count: 4, data: new Uint8Array(3) },
      "vfio_irq_set.count",
    );
  });
  it("start + count wraps", () =>
    refuses("DEVICE_SET_IRQS", { ...set, start: 0xffff_ffff, count: 1 }, "vfio_irq_set.count"));
  it.each([DATA_EVENTFD | ACTION_TRIGGER, DATA_NONE | ACTION_MASK, DATA_BOOL | ACTION_TRIGGER])(
    "count zero with flags 0x%x",
    (flags) => void refuses("DEVICE_SET_IRQS", { ...set, flags, count: 0 }, "vfio_irq_set.count"),
  );
  it("count zero, start not", () =>
    refuses("DEVICE_SET_IRQS", { ...set, count: 0, start: 1 }, "vfio_irq_set.start"));
});

describe("region and DMA access", () => {
  it("reads that end at 2^64 are fine, one more wraps", () => {
    accepts("REGION_READ", { offset: END - 4n, region: 0, count: 4 });
    refuses("REGION_READ", { offset: END - 4n, region: 0, count: 5 }, "vfio_user_region_access.offset");
    accepts("DMA_READ", { address: END - 4n, count: 4n });
    refuses("DMA_READ", { address: END - 4n, count: 5n }, "vfio_user_dma_region_access.address");
  });

  it("writes that wrap", () => {
    const data = new Uint8Array(2);
    const at = { offset: END - 1n, region: 0 };
    refuses("REGION_WRITE", { ...at, count: 2, data }, "vfio_user_region_access.offset");
    refuses("DMA_WRITE", { address: END - 1n, count: 2n, data }, "vfio_user_dma_region_access.address");
  });

  it.each([0, 3, 5, 0xffff_ffff])("a write of 4 bytes that says %i", (count) => {
    const bytes = encodeRequest("REGION_WRITE", 1, {
      offset: 0n,
      region: 0,
      count: 4,
      data: new Uint8Array(4),
    });
    new DataView(bytes.buffer).setUint32(HEADER_SIZE + 12, count, true);
    const error = refusal(() => decodeMessage(bytes));
    expect(error).toMatchObject({ field: "vfio_user_region_access.count", value: String(count) });
  });

  it("a DMA count of 2^64 - 1 with 4 bytes", () => {
    const bytes = encodeRequest("DMA_WRITE", 1, { address: 0n, count: 4n, data: new Uint8Array(4) });
    new DataView(bytes.buffer).setBigUint64(HEADER_SIZE + 8, END - 1n, true);
    expect(refusal(() => decodeMessage(bytes)).field).toBe("vfio_user_dma_region_access.count");
  });

  it("a DMA_WRITE's reply in the three forms in use: specification, libvfio-user, QEMU", () => {
    const written = { address: 0x1000n, count: 4n };
    const whole = encodeReply("DMA_WRITE", 1, { written });
    expect(whole.length).toBe(HEADER_SIZE + 16);
    const reply = (body: Uint8Array): unknown => decodeMessage(raw(Command.DMA_WRITE, body, Type.REPLY));
    expect(reply(whole.subarray(HEADER_SIZE))).toMatchObject({ payload: { written } });
    expect(reply(whole.subarray(HEADER_SIZE, HEADER_SIZE + 12))).toMatchObject({ payload: { written } });
    expect(reply(none)).toMatchObject({ payload: { written: undefined } });
    refusal(() => reply(new Uint8Array(11)));
  });

  it("REGION_WRITE_MULTI: at most 8 bytes each, and as many as it says", () => {
    const wr = { offset: 0n, region: 0, count: 8, data: new Uint8Array(8) };
    accepts("REGION_WRITE_MULTI", { wr_cnt: 2n, wrs: [wr, wr] });
    accepts("REGION_WRITE_MULTI", { wr_cnt: 0n, wrs: [] });
    const single = "vfio_user_region_write_multi.wrs";
    refuses("REGION_WRITE_MULTI", { wr_cnt: 1n, wrs: [{ ...wr, count: 9 }] }, `${single}.count`);
    refuses("REGION_WRITE_MULTI", { wr_cnt: 1n, wrs: [{ ...wr, offset: END - 1n }] }, `${single}.offset`);
    const bytes = encodeRequest("REGION_WRITE_MULTI", 1, { wr_cnt: 1n, wrs: [wr] });
    for (const count of [2n, END - 1n]) {
      new DataView(bytes.buffer).setBigUint64(HEADER_SIZE, count, true);
      expect(refusal(() => decodeMessage(bytes)).field).toBe("vfio_user_region_write_multi.wr_cnt");
    }
  });
});

describe("DEVICE_FEATURE", () => {
  const { GET, SET, PROBE } = FeatureFlags;
  const feature = (flags: number, argsz = 64, data: Uint8Array = none) => ({ argsz, flags, data });
  const refusesFeature = (field: string, ...args: Parameters<typeof feature>): void =>
    void refuses("DEVICE_FEATURE", feature(...args), field);

  it("probing GET and SET together", () =>
    accepts("DEVICE_FEATURE", feature(PROBE | GET | SET | Feature.MIG_DEVICE_STATE)));
  it("features that are not known here pass: the device knows", () =>
    accepts("DEVICE_FEATURE", feature(GET | 999, 8)));
  it("no operation", () => refusesFeature("vfio_user_device_feature.flags", Feature.MIGRATION));
  it("GET and SET", () => refusesFeature("vfio_user_device_feature.flags", GET | SET | 1));
  it("a reserved bit", () => refusesFeature("vfio_user_device_feature.flags", GET | (1 << 19) | 1));
  it("the highest bit", () => refusesFeature("vfio_user_device_feature.flags", 0x8001_0001));

  it.each([
    ["MIGRATION", Feature.MIGRATION, 16],
    ["MIG_DEVICE_STATE", Feature.MIG_DEVICE_STATE, 16],
    ["MIG_DATA_SIZE", Feature.MIG_DATA_SIZE, 16],
    ["MIG_PRECOPY_INFO", Feature.MIG_PRECOPY_INFO, 32],
  ])("GET %s needs argsz for the reply", (_name, index, argsz) => {
    accepts("DEVICE_FEATURE", feature(GET | index, argsz));
    refusesFeature("vfio_user_device_feature.argsz", GET | index, argsz - 1);
  });

  it("argsz below the request itself", () =>
    refusesFeature("vfio_user_device_feature.argsz", SET | Feature.MIG_DEVICE_STATE, 15, new Uint8Array(8)));
  it("SET MIG_DEVICE_STATE without the state", () =>
    refusesFeature(
      "vfio_user_device_feature_mig_state",
      SET | Feature.MIG_DEVICE_STATE,
      64,
      new Uint8Array(7),
    ));

  const control = (page_size: bigint, ...ranges: { iova: bigint; length: bigint }[]): Uint8Array =>
    FeatureDmaLoggingControl.encode({ page_size, num_ranges: ranges.length, reserved: 0, ranges });
  const START = SET | Feature.DMA_LOGGING_START;

  it("DMA_LOGGING_START", () => {
    const struct = "vfio_user_device_feature_dma_logging";
    accepts("DEVICE_FEATURE", feature(START, 64, control(4096n, { iova: END - 4096n, length: 4096n })));
    accepts("DEVICE_FEATURE", feature(START, 64, control(4096n)));
    refusesFeature(`${struct}_control.page_size`, START, 64, control(0n));
    refusesFeature(`${struct}_control.page_size`, START, 64, control(4097n));
    refusesFeature(`${struct}_range.length`, START, 64, control(4096n, { iova: 0n, length: 0n }));
    refusesFeature(`${struct}_range.length`, START, 64, control(4096n, { iova: END - 1n, length: 2n }));
    const missing = control(4096n, { iova: 0n, length: 1n }).subarray(0, 31);
    refusesFeature(`${struct}_control.num_ranges`, START, 64, missing);
  });

  it("DMA_LOGGING_REPORT", () => {
    const REPORT = GET | Feature.DMA_LOGGING_REPORT;
    const struct = "vfio_user_device_feature_dma_logging_report";
    const report = (iova: bigint, length: bigint, page_size: bigint): Uint8Array =>
      FeatureDmaLoggingReportRequest.encode({ iova, length, page_size });
    // 65 pages: two u64s of bitmap.
    accepts("DEVICE_FEATURE", feature(REPORT, 8 + 24 + 16, report(0n, 65n * 4096n, 4096n)));
    refusesFeature("vfio_user_device_feature.argsz", REPORT, 8 + 24 + 15, report(0n, 65n * 4096n, 4096n));
    refusesFeature("vfio_user_device_feature.argsz", REPORT, 0xffff_ffff, report(0n, END - 1n, 1n));
    refusesFeature(`${struct}.page_size`, REPORT, 64, report(0n, 4096n, 0n));
    refusesFeature(`${struct}.page_size`, REPORT, 64, report(0n, 4096n, 3n));
    refusesFeature(`${struct}.length`, REPORT, 64, report(0n, 0n, 4096n));
    refusesFeature(`${struct}.length`, REPORT, 64, report(END - 1n, 2n, 4096n));
  });

  it("a reply without the feature's data", () => {
    const bytes = raw(Command.DEVICE_FEATURE, new Uint8Array([16, 0, 0, 0, 1, 0, 1, 0, 1]), Type.REPLY);
    expect(refusal(() => decodeMessage(bytes)).field).toBe("vfio_user_device_feature_migration");
  });
});

describe("migration data", () => {
  it("MIG_DATA_READ: argsz has room for all that is asked", () => {
    accepts("MIG_DATA_READ", { argsz: 8 + 100, size: 100 });
    refuses("MIG_DATA_READ", { argsz: 8 + 99, size: 100 }, "vfio_user_mig_data.argsz");
  });

  it("MIG_DATA_WRITE: size and data agree; argsz stands for a reply that has no payload", () => {
    accepts("MIG_DATA_WRITE", { argsz: 0, size: 3, data: new Uint8Array(3) });
    const bytes = encodeRequest("MIG_DATA_WRITE", 1, { argsz: 11, size: 3, data: new Uint8Array(3) });
    new DataView(bytes.buffer).setUint32(HEADER_SIZE + 4, 4, true);
    expect(refusal(() => decodeMessage(bytes)).field).toBe("vfio_user_mig_data.size");
  });
});

describe("values that do not fit", () => {
  it.each([-1, 1.5, 2 ** 32, NaN])("%d in a u32", (argsz) => {
    const error = refusal(() =>
      encodeRequest("DEVICE_GET_INFO", 1, { argsz: 16, flags: argsz, num_regions: 0, num_irqs: 0 }),
    );
    expect(error.field).toBe("vfio_user_device_info.flags");
  });

  it.each([-1n, END])("%d in a u64", (offset) => {
    const error = refusal(() => encodeReply("REGION_WRITE", 1, { offset, region: 0, count: 0 }));
    expect(error.field).toBe("vfio_user_region_access.offset");
  });
});
