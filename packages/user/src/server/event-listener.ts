import type { IrqTrigger } from "@vfiokit/core/host";
import { drainEventFd, isReadable, reactor, requireEventFd, type Fd, type Watch } from "../linux/index.js";

/** An eventfd that the client signals: what unmasks INTx. */
export class EventFdListener implements IrqTrigger {
  #watch: Watch | undefined;

  /** Takes `fd`, also when it fails. @throws VfioError EINVAL, unless it is an eventfd */
  constructor(private readonly fd: Fd) {
    requireEventFd(fd);
  }

  signal(): void {
    // It is the client's to signal.
  }

  listen(signalled: () => void): void {
    this.#watch = reactor.add(this.fd, {
      onReadable: () => {
        // It may be a blocking one, and the reactor also tries those that are not readable.
        if (!isReadable(this.fd) || drainEventFd(this.fd) === 0) return false;
        signalled();
        return true;
      },
    });
  }

  close(): void {
    this.#watch?.remove();
    this.fd.close();
  }
}
