import type { Inbox } from "../socket/index.js";
import { Header, HeaderFlags } from "../wire/index.js";
import type { ServerLink } from "./server-link.js";

export interface StallEvents {
  link(): ServerLink | undefined;
  /** The request that has waited longest has waited for too long. */
  onOverdue(link: ServerLink): void;
}

/** How often it looks, in the time that an answer may take. */
const LOOKS = 8;

/**
 * Notices a server that is there and does not answer: one that was stopped, or hangs. Looked at now and then, so that
 * nothing has to be noted of each request.
 */
export class Stall {
  readonly #timer: NodeJS.Timeout;
  /** The request that waited longest, the last time, and when it was seen first. */
  #oldest = 0;
  #since = 0;

  /** @param limit milliseconds that an answer may take */
  constructor(
    private readonly limit: number,
    private readonly events: StallEvents,
  ) {
    this.#timer = setInterval(() => this.#look(), limit / LOOKS).unref();
  }

  /** Whether the request at the head of `inbox` gets no answer from that server now. Who asks for none can wait. */
  refuses(inbox: Inbox): boolean {
    const stalled = (this.events.link()?.inFlight.abandonedCount ?? 0) > 0;
    if (!stalled) return false;
    return (inbox.view.getUint32(inbox.head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) === 0;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const link = this.events.link();
    const oldest = link?.inFlight.oldest ?? 0;
    const now = performance.now();
    if (oldest !== this.#oldest) {
      this.#oldest = oldest;
      this.#since = now;
    } else if (link && oldest !== 0 && now - this.#since >= this.limit - this.limit / LOOKS) {
      this.events.onOverdue(link);
    }
  }
}
