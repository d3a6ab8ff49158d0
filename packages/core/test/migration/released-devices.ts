import {
  array,
  bytes,
  definePciDevice,
  express,
  memory,
  mmio,
  msi,
  PciDevice,
  pm,
  section,
  sections,
  TrackedMemory,
  trackedMemory,
  u16,
  u32,
  u64,
  type PciDeviceDefinition,
} from "@vfiokit/core";

/**
 * The devices whose streams are kept in `streams/`: a device, and the same device a release later. They stay as they
 * are: what was released can be loaded for ever.
 */

export const RAM_BAR = 2;
export const RAM_SIZE = 8192;

/** Of the devices that have a disk. Its last page is not whole. */
export const DISK_SIZE = 3 * 4096 + 100;

/** What both releases hold. */
export interface OldState {
  control: number;
  address: bigint;
  fifo: Uint8Array;
  queues: readonly number[];
  ram: Uint8Array;
  /** Memory that is sent while the device runs, in those that have it. */
  readonly disk: TrackedMemory | undefined;
}

/** What the later release adds: a field of an old section, a section, and one that old readers may skip. */
export interface NewState extends OldState {
  prescaler: number;
  filter: number;
  statistics: number;
}

export const defaults = { prescaler: 1, filter: 0, statistics: 0 };

const ram = () => ({ ram: new Uint8Array(0) });
const emptyOld = (withDisk: boolean): OldState => ({
  disk: withDisk ? new TrackedMemory(DISK_SIZE) : undefined,
  control: 0,
  address: 0n,
  fifo: new Uint8Array(0),
  queues: [0, 0],
  ...ram(),
});

function definition(state: OldState, declared: Parameters<typeof sections>[0]): PciDeviceDefinition {
  return definePciDevice({
    name: "released",
    id: { vendor: 0x1b36, device: 0x01ff, classCode: 0x088000, revision: 1 },
    bars: [mmio({ size: 0x1000, slot: 0 }), memory({ size: RAM_SIZE, slot: RAM_BAR })],
    interruptPin: "A",
    capabilities: [pm(), express({ flr: true }), msi()],
    create: (host) => {
      state.ram = host.memory(RAM_BAR);
      return { read: () => 0, write: () => undefined, reset: () => undefined, state: sections(declared) };
    },
  });
}

function oldSections(state: OldState) {
  return {
    ...(state.disk && { disk: trackedMemory(state.disk) }),
    address: u64(
      () => state.address,
      (value) => (state.address = value),
    ),
    fifo: bytes(
      { max: 16 },
      () => state.fifo,
      (value) => (state.fifo = value),
    ),
    queues: array(
      "u16",
      { length: 2 },
      () => state.queues,
      (value) => (state.queues = value),
    ),
  };
}

const control = (state: OldState) =>
  u32(
    () => state.control,
    (value) => (state.control = value),
  );

export function oldDevice(withDisk = false): { state: OldState; device: PciDevice } {
  const state = emptyOld(withDisk);
  const declared = { registers: section({ control: control(state) }), ...oldSections(state) };
  return { state, device: new PciDevice(definition(state, declared)) };
}

export function newDevice(withDisk = false): { state: NewState; device: PciDevice } {
  const state: NewState = { ...emptyOld(withDisk), ...defaults };
  const declared = {
    registers: section({
      control: control(state),
      prescaler: u16(
        () => state.prescaler,
        (value) => (state.prescaler = value),
        { since: 2, default: defaults.prescaler },
      ),
    }),
    ...oldSections(state),
    filter: u32(
      () => state.filter,
      (value) => (state.filter = value),
      { default: defaults.filter },
    ),
    statistics: section(
      {
        count: u32(
          () => state.statistics,
          (value) => (state.statistics = value),
          { default: defaults.statistics },
        ),
      },
      { optional: true },
    ),
  };
  return { state, device: new PciDevice(definition(state, declared)) };
}

/** Gives a device a state that no default looks like. */
export function fill(state: OldState): void {
  state.control = 0xdeadbeef;
  state.address = 0x0123_4567_89ab_cdefn;
  state.fifo = new TextEncoder().encode("hello");
  state.queues = [7, 0xffff];
  for (let i = 0; i < RAM_SIZE; i++) state.ram[i] = (i * 7 + (i >> 8)) & 0xff;
  for (let at = 0; at < DISK_SIZE; at += 4096)
    state.disk?.fill(at / 4096 + 1, at, Math.min(at + 4096, DISK_SIZE));
}
