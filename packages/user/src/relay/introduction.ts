import { DmaUnmap } from "../wire/index.js";
import { disableIrq, type ClientSetup, type ClientMap } from "./client-setup.js";
import type { ServerLink } from "./server-link.js";

/** Maps that are told without waiting for the answer to the first of them. */
const AT_A_TIME = 256;

/** Tells a server what the client has told another one. */
export class Introduction {
  readonly #told = new Set<ClientMap>();
  /** Irq indices that it has been told of. */
  readonly #irqs = new Set<number>();

  constructor(
    private readonly setup: ClientSetup,
    private readonly link: ServerLink,
  ) {}

  /** DMA maps: what has changed since this was called last. @throws ReplyError */
  async maps(): Promise<void> {
    const present = new Set(this.setup.maps);
    const gone = [...this.#told].filter((map) => !present.has(map));
    await this.#each(gone, async (map) => {
      const { address, size } = map.request;
      await this.link.call("DMA_UNMAP", { argsz: DmaUnmap.size, flags: 0, address, size });
      this.#told.delete(map);
    });
    // The client goes on meanwhile: what it has taken back is closed.
    const added = [...this.setup.maps].filter((map) => !this.#told.has(map));
    await this.#each(added, async (map) => {
      if (map.fd?.closed) return;
      await this.link.call("DMA_MAP", map.request, map.fd ? [map.fd] : []);
      this.#told.add(map);
    });
  }

  /** Eventfds and masks of interrupts: all of them, in place of what this told it before. @throws ReplyError */
  async irqs(): Promise<void> {
    const { setup, link } = this;
    const requests = [...setup.irqRequests(link.capabilities.max_msg_fds!)];
    const answers = Array.from(this.#irqs, (index) => link.call("DEVICE_SET_IRQS", disableIrq(index)));
    for (const { request, fds } of requests) {
      this.#irqs.add(request.index);
      answers.push(link.call("DEVICE_SET_IRQS", request, fds));
    }
    await Promise.all(answers);
  }

  /** Eventfds that unmask: once the masks are those of the client, and no other server listens. @throws ReplyError */
  async unmasks(): Promise<void> {
    for (const { request, fds } of this.setup.unmaskRequests()) {
      this.#irqs.add(request.index);
      await this.link.call("DEVICE_SET_IRQS", request, fds);
    }
  }

  async #each(maps: readonly ClientMap[], tell: (map: ClientMap) => Promise<void>): Promise<void> {
    for (let at = 0; at < maps.length; at += AT_A_TIME)
      await Promise.all(maps.slice(at, at + AT_A_TIME).map(tell));
  }
}
