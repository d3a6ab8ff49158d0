import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { MigrationState, type MigrationStateName } from "@vfiokit/core/migration";
import {
  bitmapSize,
  DeviceFeature,
  DmaMapFlags,
  DmaUnmapFlags,
  Feature,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigState,
  IrqSetFlags,
} from "@vfiokit/user/wire";
import type { Exchange, Step } from "./script.js";

/**
 * The messages of libvfio-user's sample client (samples/client.c), in its order and with its message ids and sizes.
 * What it does to the registers of its own sample device is replaced by what `Card` says.
 */

/** The sample's limits, which it announces: messages are small, so that an image takes many. */
const MAX_FDS = 32;
const MAX_TRANSFER = 1024;
const PAGE = 4096n;
/** vfio-user has no descriptor for the image. */
const NO_FD = -1;
const EINVAL = 22;

/** The sample maps twice as many regions as the server takes descriptors in a message (ours: 8). */
const REGIONS = 16;
export const MEMORY_SIZE = REGIONS * Number(PAGE);

/** What differs from device to device. */
export interface Card {
  readonly vendor: number;
  readonly device: number;
  /** Bytes of BAR 0. */
  readonly bar0: bigint;
  /** Makes the card raise INTx; absent: it has none, and the interrupt is not set up. */
  readonly raise?: readonly Exchange[];
  /** Puts the card into the state that is to arrive, with an interrupt on its way if it has one. */
  readonly prepare: readonly Exchange[];
  /** What the guest does after each piece of the image, while it is read from the running card (PRE_COPY). */
  readonly meanwhile: Exchange;
  /** How the state shows at the destination: before it runs, and afterwards. */
  readonly arrived: readonly Exchange[];
}

/** BAR 0, little endian. The sample counts its ids down. */
export function barRead(offset: number, expected: number, count = 4): Exchange {
  const access = { offset: BigInt(offset), region: RegionIndex.BAR0, count };
  return { send: "REGION_READ", id: 0xf00f, payload: access, expect: { count, data: le(expected, count) } };
}

export function barWrite(offset: number, value: number, count = 4): Exchange {
  return regionWrite(RegionIndex.BAR0, offset, value, count);
}

/** Of a 16-bit register in configuration space. */
export function configWrite(offset: number, value: number): Exchange {
  return regionWrite(RegionIndex.CONFIG, offset, value, 2);
}

function regionWrite(region: number, offset: number, value: number, count: number): Exchange {
  const access = { offset: BigInt(offset), region, count };
  const payload = { ...access, data: le(value, count) };
  return { send: "REGION_WRITE", id: 0xf00e, payload, expect: access };
}

function le(value: number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => (value >>> (8 * i)) & 0xff);
}

export function sampleClient(card: Card): Step[] {
  return [
    version,
    // A region that no device has.
    {
      send: "REGION_READ",
      id: 0xf00f,
      payload: { offset: 0n, region: 0xdeadbeef, count: 4 },
      expect: EINVAL,
    },
    {
      send: "DEVICE_GET_INFO",
      id: 0xb10c,
      payload: { argsz: 16, flags: 0, num_regions: 0, num_irqs: 0 },
      expect: { argsz: 16, num_regions: 9, num_irqs: 5 },
    },
    ...Array.from({ length: 9 }, (_, index) => regionInfo(index, card)),
    {
      send: "REGION_READ",
      id: 0xf00d,
      payload: { offset: 0n, region: RegionIndex.CONFIG, count: 4 },
      expect: { count: 4, data: Uint8Array.of(...le(card.vendor, 2), ...le(card.device, 2)) },
    },
    { send: "DEVICE_RESET", id: 1, payload: {}, expect: {} },
    ...Array.from({ length: REGIONS }, (_, i) => dmaMap(i)),
    ...interrupts(card),
    startLogging,
    ...(card.raise ? [...card.raise, { await: "interrupt" } as const] : []),
    // The sample's device writes guest memory by itself here. Ours do not, so no page is dirty.
    ...Array.from({ length: REGIONS }, (_, i) => dirtyPages(i)),
    stopLogging,
    ...Array.from({ length: REGIONS / 2 }, (_, i) => dmaUnmap(i)),
    ...card.prepare,

    setState("PRE_COPY", 0xfab1),
    { readImage: { id: 0x6904, size: MAX_TRANSFER, most: 12 }, meanwhile: card.meanwhile },
    setState("STOP_COPY", 0xfab0),
    { readImage: { id: 0x6900, size: MAX_TRANSFER } },
    setState("STOP", 0xfaaf),

    { connect: "destination" },
    version,
    setState("RESUMING", 0xfaae),
    { writeImage: { id: 0x2023 } },
    setState("STOP", 0xfaad),
    // Registers can be read in STOP: the sample compares its device's memory here.
    ...card.arrived,
    setState("RUNNING", 0xfaac),
    ...Array.from({ length: REGIONS / 2 }, (_, i) => dmaMap(REGIONS / 2 + i)),
    ...interrupts(card),
    ...(card.raise ? [{ await: "interrupt" } as const] : []),
    ...card.arrived,
    {
      send: "DMA_UNMAP",
      id: 8,
      payload: { argsz: 24, flags: DmaUnmapFlags.ALL, address: 0n, size: 0n },
      expect: { argsz: 24, flags: DmaUnmapFlags.ALL },
    },
  ];
}

const version: Exchange = {
  send: "VERSION",
  id: 0xda55,
  payload: {
    major: 0,
    minor: 1,
    data: { capabilities: { max_msg_fds: MAX_FDS, max_data_xfer_size: MAX_TRANSFER } },
  },
  // By this number the sample decides how many regions it maps.
  expect: { major: 0, minor: 1, data: { capabilities: { max_msg_fds: 16 } } },
};

/** argsz is the struct's: a reply with more would be asked for again, and none of these regions has capabilities. */
function regionInfo(index: number, { bar0 }: Card): Exchange {
  const asked = { argsz: 32, flags: 0, index, cap_offset: 0, size: 0n, offset: 0n };
  const size = index === RegionIndex.BAR0 ? { size: bar0 } : {};
  return {
    send: "DEVICE_GET_REGION_INFO",
    id: 0xabcd,
    payload: asked,
    expect: { argsz: 32, index, ...size },
  };
}

/** A page of the file, at the address that it has in the file. */
function dmaMap(i: number): Exchange {
  const at = BigInt(i) * PAGE;
  return {
    send: "DMA_MAP",
    id: 0x1234 + i,
    payload: { argsz: 32, flags: DmaMapFlags.READ | DmaMapFlags.WRITE, offset: at, address: at, size: PAGE },
    fds: ["memory"],
    expect: {},
  };
}

function dmaUnmap(i: number): Exchange {
  const payload = { argsz: 24, flags: 0, address: BigInt(i) * PAGE, size: PAGE };
  return { send: "DMA_UNMAP", id: 7, payload, expect: payload };
}

/** It asks about every interrupt, and connects INTx to its eventfd. */
function interrupts({ raise }: Card): Exchange[] {
  const all = Object.values(IrqIndex).map((index): Exchange => ({
    send: "DEVICE_GET_IRQ_INFO",
    id: 0x1bad,
    payload: { argsz: 16, flags: 0, index, count: 0 },
    expect: { argsz: 16, index, ...(index === IrqIndex.INTX ? { count: raise ? 1 : 0 } : {}) },
  }));
  if (!raise) return all;
  const flags = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER;
  return [
    ...all,
    {
      send: "DEVICE_SET_IRQS",
      id: 0x1bae,
      payload: { argsz: 20, flags, index: IrqIndex.INTX, start: 0, count: 1, data: new Uint8Array() },
      fds: ["interrupt"],
      expect: {},
    },
  ];
}

/** Start and stop carry the same struct, with no ranges: all of guest memory. */
const control = FeatureDmaLoggingControl.encode({ page_size: PAGE, num_ranges: 0, reserved: 0, ranges: [] });
const startLogging = logging(Feature.DMA_LOGGING_START);
const stopLogging = logging(Feature.DMA_LOGGING_STOP);

function logging(feature: number): Exchange {
  const payload = {
    argsz: DeviceFeature.size + control.length,
    flags: feature | FeatureFlags.SET,
    data: control,
  };
  return { send: "DEVICE_FEATURE", id: 0, payload, expect: payload };
}

/** argsz has room for the bitmap, the message has not. */
function dirtyPages(i: number): Exchange {
  const report = { iova: BigInt(i) * PAGE, length: PAGE, page_size: PAGE };
  const data = FeatureDmaLoggingReportRequest.encode(report);
  const bitmap = Number(bitmapSize(PAGE, PAGE));
  const flags = Feature.DMA_LOGGING_REPORT | FeatureFlags.GET;
  const argsz = DeviceFeature.size + data.length + bitmap;
  return {
    send: "DEVICE_FEATURE",
    id: 0x99,
    payload: { argsz, flags, data },
    expect: { argsz, flags, data: Uint8Array.of(...data, ...new Uint8Array(bitmap)) },
  };
}

/** The reply must repeat the request to the byte: the sample compares them. */
function setState(state: MigrationStateName, id: number): Exchange {
  const data = FeatureMigState.encode({ device_state: MigrationState[state], data_fd: NO_FD });
  const flags = Feature.MIG_DEVICE_STATE | FeatureFlags.SET;
  const payload = { argsz: DeviceFeature.size + data.length, flags, data };
  return { send: "DEVICE_FEATURE", id, payload, expect: payload };
}
