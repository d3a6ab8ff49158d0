/** Valid requests, in the order in which a client makes sense: what they are about comes from the ones before. */

import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import {
  DeviceFeature,
  encodeRequest,
  Feature,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigState,
  IrqSet,
  IrqSetFlags,
  type CommandName,
  type RequestPayload,
} from "@vfiokit/user/wire";
import type { Random } from "./random.js";
import type { FdKind } from "./session.js";

/** What a client can find out about the device beforehand. */
export interface Profile {
  /** Bytes of each region. */
  readonly regions: readonly number[];
  /** Vectors of each interrupt index. */
  readonly irqs: readonly number[];
  /** A whole stream of the device at power-on. */
  readonly image: Uint8Array;
  /** What makes the device do something: writes to registers of BAR 0, by offset. */
  readonly recipes: readonly (readonly (readonly [offset: number, value: number | "address" | "any"])[])[];
}

export interface Request {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly fds: readonly FdKind[];
}

const PAGE = 4096;
/** Of the files that are shared. */
export const FILE_PAGES = 16;
const GUEST_PAGES = 64;
const { CONFIG } = RegionIndex;
const PCI_COMMAND = 4n;
/** I/O, memory, bus master. */
const PCI_ENABLED = Uint8Array.of(7, 0);
const NO_DATA = new Uint8Array();
const { DATA_NONE, DATA_BOOL, DATA_EVENTFD, ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = IrqSetFlags;
/** Descriptors in one message, as most that we offer. */
const MAX_FDS = 16;

/** Makes the requests of one client, and remembers what it has done. */
export class Grammar {
  #id = 0;
  #maps: { address: bigint; size: bigint }[] = [];
  #loaded = 0;

  constructor(
    private readonly random: Random,
    private readonly profile: Profile,
    private readonly twin: boolean,
  ) {}

  version(): Request {
    const { random } = this;
    const capabilities = {
      max_msg_fds: random.pick([1, 8, MAX_FDS, 253]),
      max_data_xfer_size: random.pick([64, PAGE, 1 << 20]),
      write_multiple: !random.once(4),
      ...(this.twin && { twin_socket: { supported: true } }),
      ...(random.once(4) && { migration: { pgsize: PAGE } }),
    };
    return this.#request("VERSION", { major: 0, minor: random.below(3), data: { capabilities } });
  }

  /** What a client does first, at a device that others have used. */
  beginning(): Request[] {
    return [this.#request("DEVICE_RESET", {}), this.#enable()];
  }

  /** Anything. */
  any(): Request[] {
    const { random, profile } = this;
    if (profile.recipes.length === 0 || !random.once(8)) return [random.pick(this.#makers)()];
    const address = this.#maps.length > 0 ? Number(random.pick(this.#maps).address) : 0;
    return random.pick(profile.recipes).map(([offset, value]) => {
      const data = new Uint8Array(4);
      const number = value === "address" ? address : value === "any" ? random.below(32) : value;
      new DataView(data.buffer).setUint32(0, number, true);
      return this.#request("REGION_WRITE", { region: 0, offset: BigInt(offset), count: data.length, data });
    });
  }

  readonly #makers: readonly (() => Request)[] = [
    ...Array<() => Request>(6).fill(() => this.#read()),
    ...Array<() => Request>(6).fill(() => this.#write()),
    ...Array<() => Request>(4).fill(() => this.#map()),
    ...Array<() => Request>(2).fill(() => this.#unmap()),
    ...Array<() => Request>(3).fill(() => this.#irqs()),
    ...Array<() => Request>(3).fill(() => this.#state()),
    ...Array<() => Request>(3).fill(() => this.#load()),
    () => this.#writes(),
    () => this.#irqs(),
    () => this.#feature(),
    () => this.#feature(),
    () => this.#enable(),
    () => this.#request("MIG_DATA_READ", this.#dataRead()),
    () => this.#request("MIG_DATA_READ", this.#dataRead()),
    () => (this.random.once(3) ? this.#reset() : this.#state()),
    () =>
      this.#request("DEVICE_GET_INFO", {
        argsz: 16 + this.random.below(32),
        flags: 0,
        num_regions: 0,
        num_irqs: 0,
      }),
    () =>
      this.#request("DEVICE_GET_REGION_INFO", {
        argsz: this.random.pick([32, 64, 128, PAGE]),
        flags: 0,
        index: this.random.below(this.profile.regions.length),
        cap_offset: 0,
        size: 0n,
        offset: 0n,
      }),
    () =>
      this.#request("DEVICE_GET_REGION_IO_FDS", {
        argsz: this.random.pick([16, 64, 512]),
        flags: 0,
        index: this.random.below(this.profile.regions.length),
        count: 0,
      }),
    () =>
      this.#request("DEVICE_GET_IRQ_INFO", {
        argsz: 16,
        flags: 0,
        index: this.random.below(this.profile.irqs.length),
        count: 0,
      }),
    () => this.#request("VERSION", { major: 0, minor: 1, data: undefined }),
  ];

  #request<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    fds: readonly FdKind[] = [],
  ): Request {
    this.#id = (this.#id + 1) & 0xffff;
    return { bytes: encodeRequest(command, this.#id, payload, this.random.once(16)), fds };
  }

  #reset(): Request {
    return this.#request("DEVICE_RESET", {});
  }

  #enable(): Request {
    return this.#request("REGION_WRITE", {
      region: CONFIG,
      offset: PCI_COMMAND,
      count: PCI_ENABLED.length,
      data: PCI_ENABLED,
    });
  }

  /** A place in a region that is there: mostly a register. */
  #place(): { region: number; offset: bigint; count: number } {
    const { random } = this;
    const there = [...this.profile.regions.keys()].filter((region) => this.profile.regions[region]! > 0);
    const region = random.pick(there);
    const size = this.profile.regions[region]!;
    const count = Math.min(random.pick([1, 2, 4, 4, 4, 8, 64]), size);
    const near = random.once(3) ? size : Math.min(size, 64);
    const at = Math.min(random.below(near), size - count);
    const offset = random.once(5) ? at : at - (at % Math.min(count, 4));
    return { region, offset: BigInt(offset), count };
  }

  #read(): Request {
    return this.#request("REGION_READ", this.#place());
  }

  #value(count: number): Uint8Array {
    const { random } = this;
    if (random.once(3)) return random.bytes(count);
    const value = new Uint8Array(count);
    value[0] = random.once(3) ? 1 << random.below(8) : random.below(8);
    // An address of the guest's, now and then.
    if (count > 1 && random.once(3)) value[1] = 0x10 * random.below(16);
    return value;
  }

  #write(): Request {
    const place = this.#place();
    return this.#request("REGION_WRITE", { ...place, data: this.#value(place.count) });
  }

  #writes(): Request {
    const wrs = Array.from({ length: 1 + this.random.below(6) }, () => {
      const { region, offset, count } = this.#place();
      return { region, offset, count: Math.min(count, 8), data: this.random.bytes(8) };
    });
    return this.#request("REGION_WRITE_MULTI", { wr_cnt: BigInt(wrs.length), wrs });
  }

  #map(): Request {
    const { random } = this;
    const pages = 1 + random.below(4);
    const map = { address: BigInt(PAGE * random.below(GUEST_PAGES)), size: BigInt(PAGE * pages) };
    this.#maps.push(map);
    const file: FdKind = random.pick(["memfd", "memfd", "memfd that can shrink", "memfd to read"]);
    const shared = !random.once(2);
    const offset = shared ? BigInt(PAGE * random.below(FILE_PAGES - pages)) : 0n;
    const flags = random.pick([1, 2, 3, 3, 3]) | (random.once(4) ? random.pick([4, 8]) : 0);
    return this.#request("DMA_MAP", { argsz: 32, flags, offset, ...map }, shared ? [file] : []);
  }

  #unmap(): Request {
    const { random } = this;
    if (random.once(6)) return this.#request("DMA_UNMAP", { argsz: 24, flags: 2, address: 0n, size: 0n });
    const map = this.#maps.length > 0 && !random.once(6) ? random.pick(this.#maps) : undefined;
    const { address, size } = map ?? {
      address: BigInt(PAGE * random.below(GUEST_PAGES)),
      size: BigInt(PAGE * (1 + random.below(8))),
    };
    return this.#request("DMA_UNMAP", { argsz: 24, flags: 0, address, size });
  }

  #irqs(): Request {
    const { random } = this;
    const there = [...this.profile.irqs.keys()].filter((index) => this.profile.irqs[index]! > 0);
    const index = random.once(8) ? IrqIndex.MSIX : random.pick(there);
    const all = Math.max(1, Math.min(this.profile.irqs[index]!, MAX_FDS));
    const start = random.below(all);
    const some = 1 + random.below(all - start);
    const action = random.pick([ACTION_TRIGGER, ACTION_TRIGGER, ACTION_MASK, ACTION_UNMASK]);
    const kind = random.pick([DATA_NONE, DATA_BOOL, DATA_EVENTFD, DATA_EVENTFD]);
    const count = kind === DATA_NONE && action === ACTION_TRIGGER && random.once(2) ? 0 : some;
    const data = kind === DATA_BOOL ? Uint8Array.from({ length: count }, () => random.below(2)) : NO_DATA;
    const fds = Array<FdKind>(kind === DATA_EVENTFD && !random.once(4) ? count : 0).fill("eventfd");
    const request = {
      argsz: IrqSet.size + data.length,
      flags: kind | action,
      index,
      start: count === 0 ? 0 : start,
      count,
      data,
    };
    return this.#request("DEVICE_SET_IRQS", request, fds);
  }

  #state(): Request {
    const { RUNNING, STOP, STOP_COPY, RESUMING, PRE_COPY } = MigrationState;
    const state = this.random.pick([RUNNING, RUNNING, STOP, STOP_COPY, RESUMING, PRE_COPY]);
    if (state === RESUMING) this.#loaded = 0;
    return this.#setFeature(
      Feature.MIG_DEVICE_STATE,
      FeatureMigState.encode({ device_state: state, data_fd: -1 }),
    );
  }

  #setFeature(feature: number, data: Uint8Array, argsz = DeviceFeature.size + data.length): Request {
    return this.#request("DEVICE_FEATURE", { argsz, flags: FeatureFlags.SET | feature, data });
  }

  #getFeature(feature: number, data: Uint8Array, argsz: number): Request {
    return this.#request("DEVICE_FEATURE", { argsz, flags: FeatureFlags.GET | feature, data });
  }

  #feature(): Request {
    const { random } = this;
    const length = BigInt(PAGE * GUEST_PAGES);
    switch (random.below(6)) {
      case 0: {
        const ranges = Array.from({ length: random.below(3) }, (_, i) => ({
          iova: BigInt(i) * length,
          length,
        }));
        const control = { page_size: BigInt(PAGE), num_ranges: ranges.length, reserved: 0, ranges };
        return this.#setFeature(Feature.DMA_LOGGING_START, FeatureDmaLoggingControl.encode(control));
      }
      case 1:
        return this.#setFeature(Feature.DMA_LOGGING_STOP, NO_DATA);
      case 2: {
        const report = { iova: 0n, length, page_size: BigInt(random.pick([PAGE, 2 * PAGE])) };
        return this.#getFeature(
          Feature.DMA_LOGGING_REPORT,
          FeatureDmaLoggingReportRequest.encode(report),
          PAGE,
        );
      }
      case 3: {
        const flags = FeatureFlags.PROBE | random.pick(Object.values(Feature));
        return this.#request("DEVICE_FEATURE", { argsz: DeviceFeature.size, flags, data: NO_DATA });
      }
      default: {
        const { MIGRATION, MIG_DEVICE_STATE, MIG_DATA_SIZE, MIG_PRECOPY_INFO } = Feature;
        const which = random.pick([MIGRATION, MIG_DEVICE_STATE, MIG_DATA_SIZE, MIG_PRECOPY_INFO]);
        return this.#getFeature(which, NO_DATA, 64);
      }
    }
  }

  #dataRead(): { argsz: number; size: number } {
    const size = this.random.pick([1, 64, 1000, PAGE, 65536]);
    return { argsz: 8 + size, size };
  }

  /** The next piece of an image: a state change to RESUMING before, and to RUNNING behind it, are chance. */
  #load(): Request {
    const { image } = this.profile;
    const size = this.random.pick([64, 1000, PAGE, image.length]);
    const data = image.subarray(this.#loaded, this.#loaded + size);
    this.#loaded = (this.#loaded + data.length) % image.length;
    return this.#request("MIG_DATA_WRITE", { argsz: 8 + data.length, size: data.length, data });
  }
}
