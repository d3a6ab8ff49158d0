import { type Fd, reactor, SyscallError, type Watch } from "../linux/index.js";
import { Header, HEADER_SIZE, Type, TYPE_MASK, WireError } from "../wire/index.js";
import type { DmaClient } from "./dma-client.js";
import { Inbox } from "./inbox.js";
import type { ConnectionSettings } from "./options.js";
import { Outbox } from "./outbox.js";
import type { PeerLimits } from "./version.js";

/** The socket for our commands to the client and their replies (vfio-user: twin-socket mode). */
export class TwinSocket {
  /** Who waits for the replies. */
  dma: DmaClient | undefined;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #watch: Watch;

  /** @param onEnd called when the client closes this socket or sends nonsense on it */
  constructor(
    private readonly fd: Fd,
    peer: PeerLimits,
    private readonly settings: ConnectionSettings,
    private readonly onEnd: (reason: string) => void,
  ) {
    // The longest reply is a DMA_READ's, of the client's max_data_xfer_size at most; ours bounds what we ask for.
    const maxCount = Math.min(peer.maxDataXferSize, settings.maxDataXferSize);
    this.#inbox = new Inbox(HEADER_SIZE + 16 + maxCount, 0);
    this.#outbox = new Outbox(fd, (blocked) => this.#watch.setWritable(blocked));
    this.#watch = reactor.add(fd, {
      onReadable: () => this.#onReadable(),
      onWritable: () => this.#guard(() => this.#outbox.flush()),
    });
  }

  send(message: Uint8Array): void {
    this.#outbox.append(message);
    this.#guard(() => this.#outbox.flush());
  }

  close(): void {
    this.#watch.remove();
    this.#inbox.close();
    this.fd.close();
  }

  #onReadable(): boolean {
    let count = 0;
    this.#guard(() => {
      count = this.#inbox.receive(this.fd);
      if (count === 0) this.onEnd("the client closed the twin socket");
      for (let size; count > 0 && (size = this.#inbox.next()) > 0;) {
        this.#take(size);
        this.#inbox.drop(size);
      }
    });
    if (count > 0) reactor.yield();
    return count > 0;
  }

  #take(size: number): void {
    const { bytes, view, head } = this.#inbox;
    const isReply = (view.getUint32(head + Header.offset.flags, true) & TYPE_MASK) === Type.REPLY;
    if (!isReply || !this.dma!.take(bytes.subarray(head, head + size)))
      this.settings.log("debug", "twin socket: a message that nobody waits for");
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof SyscallError || error instanceof WireError)) throw error;
      this.onEnd(`twin socket: ${error.message}`);
    }
  }
}
