import { errnoName, errnoOf, RegionIndex, type PciDevice } from "@vfiokit/core";
import { PciHeader } from "@vfiokit/core/pci";
import type { IoEvent } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { createEventFd, reactor, type Fd, type Watch } from "../linux/index.js";
import type { Log } from "./options.js";

const BAR_IS_IO = 1;
/** Width of the write that stands for an event which does not care (KVM: ioeventfd of length 0). */
const ANY_SIZE = 4;

interface Armed {
  readonly event: IoEvent;
  readonly fd: Fd;
  readonly watch: Watch;
}

/**
 * ioeventfds of one client: writes to a region that reach the device by an eventfd instead of a message.
 * The device sees an ordinary write. Made when a client first asks for them.
 */
export class IoEventFds {
  readonly #regions = new Map<number, readonly Armed[]>();

  constructor(
    private readonly device: PciDevice,
    private readonly log: Log,
  ) {}

  /** @throws SyscallError EMFILE */
  ofRegion(index: number): readonly { readonly event: IoEvent; readonly fd: Fd }[] {
    const known = this.#regions.get(index);
    if (known) return known;
    const armed: Armed[] = [];
    try {
      for (const event of this.device.regionInfo(index).ioEvents) {
        const fd = createEventFd();
        armed.push({ event, fd, watch: reactor.addEventFd(fd, () => this.#fire(index, event)) });
      }
    } catch (error) {
      disarm(armed);
      throw error;
    }
    this.#regions.set(index, armed);
    return armed;
  }

  /** Whether accesses to the region are port I/O, which KVM must know (KVM_IOEVENTFD_FLAG_PIO). */
  isPortIo(index: number): boolean {
    if (index > RegionIndex.BAR5) return false;
    return (this.device.config.get32(PciHeader.BASE_ADDRESS_0 + 4 * index) & BAR_IS_IO) !== 0;
  }

  close(): void {
    for (const armed of this.#regions.values()) disarm(armed);
    this.#regions.clear();
  }

  #fire(index: number, event: IoEvent): void {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setBigUint64(0, BigInt(event.dataMatch ?? 0), true);
    const failed = (error: unknown) =>
      this.log("warn", `ioeventfd of region ${index} at ${event.offset}: ${errnoName(errnoOf(error))}`);
    try {
      // A task for each: while the device is being reset, several may wait at a time.
      const task = new Task("ioeventfd");
      this.device.writeRegion(task, index, event.offset, event.size || ANY_SIZE, data, 0)?.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

function disarm(armed: readonly Armed[]): void {
  for (const { watch, fd } of armed) {
    watch.remove();
    fd.close();
  }
}
