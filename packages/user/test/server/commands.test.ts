import { IrqIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import { RegionFlags } from "@vfiokit/core/host";
import {
  createEventFd,
  createMemfd,
  drainEventFd,
  Mapping,
  signalEventFd,
  type Fd,
} from "@vfiokit/user/linux";
import {
  DmaMapFlags,
  DmaUnmapFlags,
  Feature,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReport,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigDataSize,
  FeatureMigState,
  FeatureMigration,
  IoEventFdFlags,
  IrqSetFlags,
} from "@vfiokit/user/wire";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { kernelResources, ownResources } from "../linux/support.js";
import {
  ANY,
  BAR_MEMORY,
  BAR_REGISTERS,
  BROKEN,
  CONFIG,
  Fixture,
  INTERRUPT,
  MATCHED,
  VALUE,
} from "./support.js";

const PAGE = 0x1000;
const none = new Uint8Array();

let before: ReturnType<typeof ownResources>;
let fixture: Fixture;
beforeEach(async () => {
  before = ownResources();
  fixture = await Fixture.open();
});
afterEach(async () => {
  await fixture.close();
  expect(ownResources()).toEqual(before);
});

const map = (address: number, size: number, fds: readonly Fd[] = [], flags = 3, offset = 0) =>
  fixture.client.call(
    "DMA_MAP",
    { argsz: 32, flags, offset: BigInt(offset), address: BigInt(address), size: BigInt(size) },
    fds.map((fd) => fd.number),
  );
const unmap = (address: number, size: number, flags = 0) =>
  fixture.client.call("DMA_UNMAP", { argsz: 24, flags, address: BigInt(address), size: BigInt(size) });
const setIrqs = (
  index: number,
  flags: number,
  start: number,
  count: number,
  { data = none, fds = [] }: { data?: Uint8Array; fds?: readonly Fd[] } = {},
) =>
  fixture.client.call(
    "DEVICE_SET_IRQS",
    { argsz: 20 + data.length, flags, index, start, count, data },
    fds.map((fd) => fd.number),
  );
const feature = async (number: number, operation: number, data = none, argsz = 4096) =>
  (await fixture.client.call("DEVICE_FEATURE", { argsz, flags: number | operation, data })).payload;

describe("DEVICE_GET_INFO", () => {
  it("describes a PCI device with a reset", async () => {
    const { payload } = await fixture.client.call("DEVICE_GET_INFO", {
      argsz: 16,
      flags: 0,
      num_regions: 0,
      num_irqs: 0,
    });
    expect(payload).toEqual({ argsz: 16, flags: 3, num_regions: 9, num_irqs: 5 });
  });
});

describe("DEVICE_GET_REGION_INFO", () => {
  const ask = (index: number, argsz = 256) =>
    fixture.client.call("DEVICE_GET_REGION_INFO", {
      argsz,
      flags: 0,
      index,
      cap_offset: 0,
      size: 0n,
      offset: 0n,
    });

  it("describes registers without a descriptor", async () => {
    const { payload, fds } = await ask(BAR_REGISTERS);
    expect(payload).toMatchObject({ size: 0x40n, flags: RegionFlags.READ | RegionFlags.WRITE, argsz: 32 });
    expect(fds).toEqual([]);
  });

  it("describes memory with its mappable parts and a descriptor that maps them", async () => {
    const { payload, fds } = await ask(BAR_MEMORY);
    expect(payload.flags & (RegionFlags.MMAP | RegionFlags.CAPS)).toBe(RegionFlags.MMAP | RegionFlags.CAPS);
    expect(payload.capabilities).toEqual([
      { kind: "sparse-mmap", version: 1, areas: [{ offset: 0x1000n, size: 0x2000n }] },
    ]);
    expect(payload.argsz).toBe(64);
    expect(fds.length).toBe(1);
    using fd = fds[0]!;
    using mapping = Mapping.ofFile(fd, { offset: 0x1000, length: PAGE, writable: true });
    mapping.bytes[4] = 0x77;
    await fixture.client.write(CONFIG, PciHeader.COMMAND, PciCommand.MEMORY, 2);
    expect(await fixture.client.read(BAR_MEMORY, 0x1004, 1)).toBe(0x77);
  });

  it("says how much room it needs where there is too little, without the capabilities", async () => {
    const { payload, fds } = await ask(BAR_MEMORY, 32);
    for (const fd of fds) fd.close();
    expect(payload).toMatchObject({ argsz: 64, cap_offset: 0, capabilities: [] });
    // QEMU 11: "failed to get region 2 info: Invalid argument" where CAPS has no cap_offset.
    expect(payload.flags & RegionFlags.CAPS).toBe(0);
  });

  it("answers size 0 for a region that the device does not have", async () => {
    expect((await ask(5)).payload).toMatchObject({ index: 5, size: 0n, flags: 0 });
  });

  it("does not offer to map memory to a client that takes no descriptors", async () => {
    await fixture.close();
    fixture = await Fixture.open({ negotiated: false });
    await fixture.client.negotiate({ max_msg_fds: 0 });
    const { payload, fds } = await ask(BAR_MEMORY);
    expect(fds).toEqual([]);
    expect(payload.flags & RegionFlags.MMAP).toBe(0);
  });
});

describe("DEVICE_GET_REGION_IO_FDS", () => {
  const ask = (index: number, argsz = 1024) =>
    fixture.client.call("DEVICE_GET_REGION_IO_FDS", { argsz, flags: 0, index, count: 0 });

  it("gives eventfds that write to the device", async () => {
    const { payload, fds } = await ask(BAR_REGISTERS);
    expect(payload.argsz).toBe(16 + 2 * 40);
    expect(payload.sub_regions).toEqual([
      {
        offset: BigInt(MATCHED),
        size: 4n,
        fd_index: 0,
        type: 0,
        flags: IoEventFdFlags.DATAMATCH | IoEventFdFlags.PIO,
        padding: 0,
        datamatch: 7n,
      },
      {
        offset: BigInt(ANY),
        size: 0n,
        fd_index: 1,
        type: 0,
        flags: IoEventFdFlags.PIO,
        padding: 0,
        datamatch: 0n,
      },
    ]);
    for (const fd of fds) {
      signalEventFd(fd);
      fd.close();
    }
    while (fixture.fn.writes.length < 2) await new Promise(setImmediate);
    expect(fixture.fn.writes.sort()).toEqual(["10=7/4", "14=0/4"]);
  });

  it("reach the device after a reset that is under way, all of them", async () => {
    const { fds } = await ask(BAR_REGISTERS);
    let open!: () => void;
    fixture.fn.resetGate = new Promise((resolve) => (open = resolve));
    const resetting = fixture.client.call("DEVICE_RESET", {});
    while (fixture.fn.resets === 0) await new Promise(setImmediate);
    for (const fd of fds) {
      signalEventFd(fd);
      fd.close();
    }
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    expect(fixture.fn.writes).toEqual([]);
    open();
    await resetting;
    while (fixture.fn.writes.length < 2) await new Promise(setImmediate);
  });

  it("gives the same eventfds when asked again", async () => {
    const first = await ask(BAR_REGISTERS);
    for (const fd of first.fds) fd.close();
    const held = ownResources().fds;
    const second = await ask(BAR_REGISTERS);
    for (const fd of second.fds) fd.close();
    expect(ownResources().fds).toBe(held);
  });

  it("says how much room it needs where there is too little, without descriptors", async () => {
    const { payload, fds } = await ask(BAR_REGISTERS, 16);
    expect(payload).toMatchObject({ argsz: 96, count: 2, sub_regions: [] });
    expect(fds).toEqual([]);
  });

  it("answers none for a region without, and EINVAL for no region", async () => {
    expect((await ask(BAR_MEMORY)).payload).toMatchObject({ argsz: 16, count: 0 });
    await expect(ask(5)).rejects.toThrow("errno 22");
    await expect(ask(9)).rejects.toThrow("errno 22");
  });
});

describe("DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS", () => {
  it.each([
    ["INTX", 1],
    ["MSI", 2],
    ["MSIX", 4],
    ["ERR", 1],
    ["REQ", 1],
  ] as const)("%s has %i interrupts", async (name, count) => {
    const index = IrqIndex[name];
    const { payload } = await fixture.client.call("DEVICE_GET_IRQ_INFO", {
      argsz: 16,
      flags: 0,
      index,
      count: 0,
    });
    expect(payload).toMatchObject({ argsz: 16, index, count });
  });

  const eventFd = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER;

  it("signals INTx by eventfd, masked after each trigger, again on unmask while it is asserted", async () => {
    using fd = createEventFd();
    await setIrqs(IrqIndex.INTX, eventFd, 0, 1, { fds: [fd] });
    await fixture.client.write(BAR_REGISTERS, INTERRUPT, 1);
    expect(drainEventFd(fd)).toBe(1);
    await setIrqs(IrqIndex.INTX, IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_UNMASK, 0, 1);
    expect(drainEventFd(fd)).toBe(1);
    await fixture.client.write(BAR_REGISTERS, INTERRUPT, 0);
    await setIrqs(IrqIndex.INTX, IrqSetFlags.DATA_BOOL | IrqSetFlags.ACTION_UNMASK, 0, 1, {
      data: Uint8Array.of(1),
    });
    expect(drainEventFd(fd)).toBe(0);
  });

  it("is unmasked by an eventfd that the client signals (KVM's resampling), until it is taken back", async () => {
    const unmaskBy = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_UNMASK;
    const held = ownResources().fds;
    using fd = createEventFd();
    using unmask = createEventFd();
    await setIrqs(IrqIndex.INTX, eventFd, 0, 1, { fds: [fd] });
    await setIrqs(IrqIndex.INTX, unmaskBy, 0, 1, { fds: [unmask] });
    await fixture.client.write(BAR_REGISTERS, INTERRUPT, 1);
    expect(drainEventFd(fd)).toBe(1);
    signalEventFd(unmask);
    await expect.poll(() => drainEventFd(fd)).toBe(1);
    await setIrqs(IrqIndex.INTX, unmaskBy, 0, 1);
    expect(ownResources().fds).toBe(held + 3); // both of the test, and the trigger
    signalEventFd(unmask);
    await fixture.client.read(BAR_REGISTERS, VALUE, 4);
    expect(drainEventFd(fd)).toBe(0);
    await setIrqs(IrqIndex.INTX, unmaskBy, 0, 1, { fds: [unmask] });
    await setIrqs(IrqIndex.INTX, IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER, 0, 0);
    expect(ownResources().fds).toBe(held + 2);
  });

  it("assigns a range of vectors, triggers them for a test, and lets them go again", async () => {
    const all = Array.from({ length: 4 }, createEventFd);
    await setIrqs(IrqIndex.MSIX, eventFd, 0, 4, { fds: all });
    const held = ownResources().fds;
    await setIrqs(IrqIndex.MSIX, IrqSetFlags.DATA_BOOL | IrqSetFlags.ACTION_TRIGGER, 1, 3, {
      data: Uint8Array.of(1, 0, 1),
    });
    expect(all.map(drainEventFd)).toEqual([0, 1, 0, 1]);
    // vfio-user: no descriptors de-assign; count 0 disables the index.
    await setIrqs(IrqIndex.MSIX, eventFd, 0, 2);
    expect(ownResources().fds).toBe(held - 2);
    await setIrqs(IrqIndex.MSIX, IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER, 0, 0);
    expect(ownResources().fds).toBe(held - 4);
    for (const fd of all) fd.close();
  });

  it("keeps nothing of a request that it refuses", async () => {
    using file = createMemfd("no eventfd", PAGE);
    using good = createEventFd();
    const held = ownResources().fds;
    await expect(setIrqs(IrqIndex.MSIX, eventFd, 0, 2, { fds: [good, file] })).rejects.toThrow("errno 22");
    await expect(setIrqs(IrqIndex.MSIX, eventFd, 0, 3, { fds: [good, good] })).rejects.toThrow("errno 22");
    await expect(setIrqs(IrqIndex.MSIX, eventFd, 4, 1, { fds: [good] })).rejects.toThrow("errno 22");
    expect(ownResources().fds).toBe(held);
  });

  it("refuses a count that would take all memory before it makes anything of it", async () => {
    await expect(setIrqs(IrqIndex.MSIX, eventFd, 0, 0xffff_fff0)).rejects.toThrow("errno 22");
  });
});

describe("REGION_READ and REGION_WRITE", () => {
  it("reach registers, configuration space and memory", async () => {
    const { client } = fixture;
    await client.write(BAR_REGISTERS, VALUE, 0x12345678);
    expect(await client.read(BAR_REGISTERS, VALUE, 4)).toBe(0x12345678);
    expect(await client.read(CONFIG, PciHeader.VENDOR_ID, 4)).toBe(0x01011b36);
    await client.write(CONFIG, PciHeader.COMMAND, PciCommand.MEMORY, 2);
    await client.write(BAR_MEMORY, 0x3ffe, 0xbeef, 2);
    expect(await client.read(BAR_MEMORY, 0x3ffc, 4)).toBe(0xbeef0000);
  });

  it("move up to max_data_xfer_size", async () => {
    await fixture.close();
    fixture = await Fixture.open({ maxDataXferSize: 0x4000 });
    const { client } = fixture;
    await client.write(CONFIG, PciHeader.COMMAND, PciCommand.MEMORY, 2);
    const data = Uint8Array.from({ length: 0x4000 }, (_, i) => i * 7);
    await client.call("REGION_WRITE", { region: BAR_MEMORY, offset: 0n, count: data.length, data });
    const { payload } = await client.call("REGION_READ", {
      region: BAR_MEMORY,
      offset: 0n,
      count: data.length,
    });
    expect(Buffer.compare(payload.data, data)).toBe(0);
  });

  it("answer an access of no bytes with no bytes", async () => {
    const { payload } = await fixture.client.call("REGION_READ", {
      region: BAR_REGISTERS,
      offset: 0x40n,
      count: 0,
    });
    expect(payload).toMatchObject({ count: 0 });
    await fixture.client.call("REGION_WRITE", {
      region: BAR_REGISTERS,
      offset: 0n,
      count: 0,
      data: none,
    });
  });

  it("answer EIO for a memory BAR while memory is disabled", async () => {
    await expect(fixture.client.read(BAR_MEMORY, 0, 4)).rejects.toThrow("errno 5");
  });

  it("answer EIO for a bug in the device, count it, and go on", async () => {
    await expect(fixture.client.read(BAR_REGISTERS, BROKEN, 4)).rejects.toThrow("errno 5");
    expect(fixture.device.faults).toMatchObject({ count: 1, last: "read: a bug in a device" });
    expect(await fixture.client.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
  });
});

describe("REGION_WRITE_MULTI", () => {
  const single = (offset: number, value: number, region = BAR_REGISTERS) => {
    const data = new Uint8Array(8);
    data[0] = value;
    return { offset: BigInt(offset), region, count: 4, data };
  };

  it("writes in order", async () => {
    const wrs = [single(VALUE, 1), single(ANY, 2), single(VALUE, 3)];
    const { payload } = await fixture.client.call("REGION_WRITE_MULTI", { wr_cnt: 3n, wrs });
    expect(payload.wr_cnt).toBe(3n);
    expect(fixture.fn.writes).toEqual(["0=1/4", "14=2/4", "0=3/4"]);
  });

  it("stops at the first failure and says how many were done", async () => {
    const wrs = [single(VALUE, 1), single(0x40, 2), single(VALUE, 3)];
    const { payload } = await fixture.client.call("REGION_WRITE_MULTI", { wr_cnt: 3n, wrs });
    expect(payload.wr_cnt).toBe(1n);
    expect(fixture.fn.value).toBe(1);
    const bad = { wr_cnt: 1n, wrs: [single(0, 0, 8)] };
    await expect(fixture.client.call("REGION_WRITE_MULTI", bad)).rejects.toThrow("errno 22");
  });
});

describe("requests that the peers have not agreed on", () => {
  it("REGION_WRITE_MULTI without write_multiple: EINVAL, and nothing is written", async () => {
    await fixture.close();
    fixture = await Fixture.open({ negotiated: false });
    await fixture.client.negotiate({ max_msg_fds: 8 });
    const wrs = [{ offset: BigInt(VALUE), region: BAR_REGISTERS, count: 4, data: new Uint8Array(8) }];
    await expect(fixture.client.call("REGION_WRITE_MULTI", { wr_cnt: 1n, wrs })).rejects.toThrow("errno 22");
    expect(fixture.fn.writes).toEqual([]);
  });

  it.each(["DATA_NONE", "DATA_BOOL"] as const)("descriptors with %s: EINVAL", async (kind) => {
    const fd = createEventFd();
    const flags = IrqSetFlags[kind] | IrqSetFlags.ACTION_TRIGGER;
    const data = kind === "DATA_BOOL" ? { data: Uint8Array.of(1) } : {};
    await expect(setIrqs(IrqIndex.MSIX, flags, 0, 1, { ...data, fds: [fd] })).rejects.toThrow("errno 22");
    fd.close();
  });
});

describe("DMA_MAP and DMA_UNMAP", () => {
  it("share the client's memory with the device, both ways", async () => {
    using fd = createMemfd("guest", 4 * PAGE);
    using guest = Mapping.ofFile(fd, { length: 4 * PAGE, writable: true });
    await map(0x10000, 2 * PAGE, [fd], 3, PAGE);
    guest.bytes.set([1, 2, 3], PAGE + 5);
    const into = new Uint8Array(3);
    expect(fixture.fn.host.dma.read(0x10005, into)).toBeUndefined();
    expect([...into]).toEqual([1, 2, 3]);
    expect(fixture.fn.host.dma.write(0x10000 + PAGE, Uint8Array.of(9))).toBeUndefined();
    expect(guest.bytes[2 * PAGE]).toBe(9);
    const { payload } = await unmap(0x10000, 2 * PAGE);
    expect(payload).toMatchObject({ address: 0x10000n, size: BigInt(2 * PAGE) });
    expect(() => fixture.fn.host.dma.read(0x10005, into)).toThrow("EFAULT");
  });

  it("respect READ and WRITE", async () => {
    using fd = createMemfd("guest", PAGE);
    await map(0, PAGE, [fd], DmaMapFlags.READ);
    expect(() => fixture.fn.host.dma.write(0, Uint8Array.of(1))).toThrow("EACCES");
    await unmap(0, PAGE);
    await map(0, PAGE, [fd], DmaMapFlags.WRITE);
    expect(() => fixture.fn.host.dma.read(0, new Uint8Array(1))).toThrow("EACCES");
  });

  it("unmap everything with ALL", async () => {
    using fd = createMemfd("guest", PAGE);
    const held = ownResources();
    await map(0, PAGE, [fd]);
    await map(PAGE, PAGE, [fd]);
    expect(ownResources().mappings).toBe(held.mappings + 2);
    await unmap(0, 0, DmaUnmapFlags.ALL);
    expect(ownResources()).toEqual(held);
  });

  it("use pread and pwrite where the client or the server asks for it", async () => {
    using fd = createMemfd("guest", PAGE, 0);
    await map(0, PAGE, [fd], DmaMapFlags.READ | DmaMapFlags.WRITE | DmaMapFlags.FILE_IO);
    expect(ownResources().mappings).toBe(before.mappings + 1); // the device's own memory
    expect(fixture.fn.host.dma.write(1, Uint8Array.of(5))).toBeUndefined();
    const into = new Uint8Array(1);
    void fixture.fn.host.dma.read(1, into);
    expect(into[0]).toBe(5);
  });

  it("leave nothing behind when they fail", async () => {
    using fd = createMemfd("guest", PAGE);
    await map(0, PAGE, [fd]);
    const held = ownResources();
    const kernel = kernelResources();
    await expect(map(0, PAGE, [fd])).rejects.toThrow("errno 17");
    await expect(map(PAGE, 2 * PAGE, [fd])).rejects.toThrow("errno 22");
    await expect(map(2 * PAGE, 2 * PAGE, [fd, fd])).rejects.toThrow("errno 22");
    await expect(unmap(8 * PAGE, PAGE)).rejects.toThrow("errno 2");
    expect(ownResources()).toEqual(held);
    expect(kernelResources()).toEqual(kernel);
  });
});

describe("DEVICE_RESET", () => {
  it("puts registers and configuration space at their power-on values, and keeps what is the client's", async () => {
    const { client, fn } = fixture;
    using fd = createMemfd("guest", PAGE);
    await map(0, PAGE, [fd]);
    await client.write(BAR_REGISTERS, VALUE, 5);
    await client.write(CONFIG, PciHeader.COMMAND, PciCommand.MEMORY, 2);
    await client.call("DEVICE_RESET", {});
    expect(await client.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
    expect(await client.read(CONFIG, PciHeader.COMMAND, 2)).toBe(0);
    expect(() => fn.host.dma.write(0, Uint8Array.of(1))).toThrow("EACCES: DMA write: Bus Master Enable is 0");
    await client.write(CONFIG, PciHeader.COMMAND, PciCommand.MASTER, 2);
    expect(fn.host.dma.write(0, Uint8Array.of(1))).toBeUndefined();
  });

  it("is accepted in every migration state, and returns to RUNNING", async () => {
    for (const state of [MigrationState.STOP, MigrationState.STOP_COPY, MigrationState.RESUMING]) {
      await feature(
        Feature.MIG_DEVICE_STATE,
        FeatureFlags.SET,
        FeatureMigState.encode({ device_state: state, data_fd: -1 }),
      );
      await fixture.client.call("DEVICE_RESET", {});
      const { data } = await feature(Feature.MIG_DEVICE_STATE, FeatureFlags.GET);
      expect(FeatureMigState.decode(data).device_state).toBe(MigrationState.RUNNING);
    }
  });
});

describe("DEVICE_FEATURE", () => {
  it("probes: what is there, what is not, and what has no such operation", async () => {
    const { PROBE, GET, SET } = FeatureFlags;
    expect(await feature(Feature.MIGRATION, PROBE | GET)).toMatchObject({ argsz: 8 });
    await feature(Feature.MIG_DEVICE_STATE, PROBE | GET | SET);
    await feature(Feature.DMA_LOGGING_START, PROBE | SET);
    await expect(feature(Feature.MIGRATION, PROBE | SET)).rejects.toThrow("errno 22");
    await expect(feature(3, PROBE)).rejects.toThrow("errno 25");
    await expect(feature(0xffff, GET)).rejects.toThrow("errno 25");
  });

  it("tells of migration, and only of devices that can be migrated", async () => {
    const { data } = await feature(Feature.MIGRATION, FeatureFlags.GET);
    expect(FeatureMigration.decode(data).flags & 1n).toBe(1n);
    await fixture.close();
    fixture = await Fixture.open({ migratable: false });
    for (const number of [
      Feature.MIGRATION,
      Feature.MIG_DEVICE_STATE,
      Feature.MIG_DATA_SIZE,
      Feature.MIG_PRECOPY_INFO,
    ])
      await expect(feature(number, FeatureFlags.GET)).rejects.toThrow("errno 25");
    const read = fixture.client.call("MIG_DATA_READ", { argsz: 108, size: 100 });
    await expect(read).rejects.toThrow("errno 25");
  });

  it("logs what the device writes", async () => {
    using fd = createMemfd("guest", 16 * PAGE);
    await map(0, 16 * PAGE, [fd]);
    const control = {
      page_size: 4096n,
      num_ranges: 1,
      reserved: 0,
      ranges: [{ iova: 0n, length: 0x10000n }],
    };
    await feature(Feature.DMA_LOGGING_START, FeatureFlags.SET, FeatureDmaLoggingControl.encode(control));
    void fixture.fn.host.dma.write(3 * PAGE, Uint8Array.of(1));
    const ask = FeatureDmaLoggingReportRequest.encode({ iova: 0n, length: 0x10000n, page_size: 4096n });
    const report = async () =>
      FeatureDmaLoggingReport.decode((await feature(Feature.DMA_LOGGING_REPORT, FeatureFlags.GET, ask)).data);
    expect([...(await report()).bitmap]).toEqual([1 << 3, 0, 0, 0, 0, 0, 0, 0]);
    expect((await report()).bitmap[0]).toBe(0);
    await feature(Feature.DMA_LOGGING_STOP, FeatureFlags.SET);
    await expect(report()).rejects.toThrow("errno 22");
  });

  it("refuses a report larger than any message", async () => {
    const control = { page_size: 4096n, num_ranges: 0, reserved: 0, ranges: [] };
    await feature(Feature.DMA_LOGGING_START, FeatureFlags.SET, FeatureDmaLoggingControl.encode(control));
    const ask = FeatureDmaLoggingReportRequest.encode({ iova: 0n, length: 1n << 40n, page_size: 4096n });
    const report = feature(Feature.DMA_LOGGING_REPORT, FeatureFlags.GET, ask, 0xffff_ffff);
    await expect(report).rejects.toThrow("errno 22");
  });
});

describe("a STOP_COPY migration", () => {
  const setState = (state: number) =>
    feature(
      Feature.MIG_DEVICE_STATE,
      FeatureFlags.SET,
      FeatureMigState.encode({ device_state: state, data_fd: -1 }),
    );

  it("carries the device's state to another device", async () => {
    await fixture.client.write(BAR_REGISTERS, VALUE, 0xcafe);
    await setState(MigrationState.STOP_COPY);
    const sized = await feature(Feature.MIG_DATA_SIZE, FeatureFlags.GET);
    const image: number[] = [];
    for (;;) {
      const { payload } = await fixture.client.call("MIG_DATA_READ", { argsz: 108, size: 100 });
      expect(payload.argsz).toBe(8 + payload.size);
      image.push(...payload.data);
      if (payload.size < 100) break;
    }
    expect(FeatureMigDataSize.decode(sized.data).stop_copy_length).toBeGreaterThanOrEqual(image.length);
    await fixture.close();

    fixture = await Fixture.open();
    await setState(MigrationState.RESUMING);
    for (let at = 0; at < image.length; at += 77) {
      const data = Uint8Array.from(image.slice(at, at + 77));
      await fixture.client.call("MIG_DATA_WRITE", { argsz: 8 + data.length, size: data.length, data });
    }
    await setState(MigrationState.RUNNING);
    expect(await fixture.client.read(BAR_REGISTERS, VALUE, 4)).toBe(0xcafe);
  });

  it("has its data only in the states that have data", async () => {
    const read = () => fixture.client.call("MIG_DATA_READ", { argsz: 108, size: 100 });
    await expect(read()).rejects.toThrow("errno 22");
    await setState(MigrationState.STOP_COPY);
    const write = fixture.client.call("MIG_DATA_WRITE", { argsz: 9, size: 1, data: Uint8Array.of(1) });
    await expect(write).rejects.toThrow("errno 22");
    await fixture.client.call("DEVICE_RESET", {});
    // Decided: sessions that a reset has ended answer ENODEV.
    await expect(read()).rejects.toThrow("errno 19");
  });
});
