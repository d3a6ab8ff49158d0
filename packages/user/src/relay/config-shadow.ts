import { RegionIndex } from "@vfiokit/core";
import { PciCapId, PciHeader, PciStatus } from "@vfiokit/core/pci";
import { HEADER_SIZE, readU64AsNumber, RegionAccess } from "../wire/index.js";
import type { ServerLink } from "./server-link.js";

/** The part of configuration space that every function has. */
const SIZE = 256;
/** Bytes of a capability's list entry: id and next. */
const CAP_NEXT = 1;
const CAP_CONTROL = 2;

/** Offset, bytes: what Linux restores after a reset (pci_restore_state), the command register last. */
const HEADER_FIELDS: readonly (readonly [number, number])[] = [
  [PciHeader.CACHE_LINE_SIZE, 1],
  [PciHeader.LATENCY_TIMER, 1],
  ...[0, 1, 2, 3, 4, 5].map((bar) => [PciHeader.BASE_ADDRESS_0 + 4 * bar, 4] as const),
  [PciHeader.ROM_ADDRESS, 4],
  [PciHeader.INTERRUPT_LINE, 1],
];
/** MSI, with the longest layout; MSI-X: Message Control. */
const CAP_LENGTH = new Map<number, number>([
  [PciCapId.MSI, 0x14],
  [PciCapId.MSIX, 4],
]);

/**
 * What the client has written to configuration space, and a guest writes once: where its BARs are, that they are
 * enabled, which interrupts it uses. A device that has lost its state has lost that too, and no driver would write it
 * again: it is part of the machine to the guest, and not of the device.
 */
export class ConfigShadow {
  readonly #bytes = new Uint8Array(SIZE);
  readonly #written = new Uint8Array(SIZE);

  /** A REGION_WRITE of the client, at `at` in `bytes`. */
  note(bytes: Uint8Array, view: DataView, at: number, size: number): void {
    const access = at + HEADER_SIZE;
    if (size < HEADER_SIZE + RegionAccess.size) return;
    if (view.getUint32(access + RegionAccess.offset.region, true) !== RegionIndex.CONFIG) return;
    const offset = readU64AsNumber(view, access + RegionAccess.offset.offset);
    const data = access + RegionAccess.size;
    if (offset < 0) return;
    const end = Math.min(offset + at + size - data, SIZE);
    for (let to = offset; to < end; to++) {
      this.#bytes[to] = bytes[data + to - offset]!;
      this.#written[to] = 1;
    }
  }

  /** Writes it to a device at power-on. @throws ReplyError */
  async restore(link: ServerLink): Promise<void> {
    const space = await link.call("REGION_READ", { region: RegionIndex.CONFIG, offset: 0n, count: SIZE });
    for (const [offset, count] of HEADER_FIELDS) await this.#write(link, offset, count);
    for (const [at, length] of messageInterrupts(space.data)) {
      // Message Control last: it enables what the others set up.
      await this.#write(link, at + CAP_CONTROL + 2, length - CAP_CONTROL - 2);
      await this.#write(link, at + CAP_CONTROL, 2);
    }
    await this.#write(link, PciHeader.COMMAND, 2);
  }

  /** As far as the client has written it. */
  async #write(link: ServerLink, offset: number, count: number): Promise<void> {
    if (count === 0 || this.#written.subarray(offset, offset + count).every((written) => written === 0))
      return;
    const data = this.#bytes.slice(offset, offset + count);
    await link.call("REGION_WRITE", { region: RegionIndex.CONFIG, offset: BigInt(offset), count, data });
  }
}

/** Offset and length of the MSI and MSI-X capabilities. */
function* messageInterrupts(space: Uint8Array): Generator<readonly [number, number]> {
  if (!(space[PciHeader.STATUS]! & PciStatus.CAP_LIST)) return;
  let at = space[PciHeader.CAPABILITY_LIST]! & ~3;
  // A list that loops ends after as many entries as there is room for.
  for (let seen = 0; at >= 0x40 && seen < SIZE / 4; seen++) {
    const length = CAP_LENGTH.get(space[at]!);
    if (length !== undefined) yield [at, Math.min(length, SIZE - at)];
    at = space[at + CAP_NEXT]! & ~3;
  }
}
