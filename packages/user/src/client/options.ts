import type { VfioError } from "@vfiokit/core";
import type { CallOptions } from "../socket/index.js";
import type { BackOff } from "./link.js";

/** How a client connects, and what it does when the server is gone. */
export interface ClientOptions extends CallOptions {
  /** Milliseconds that each command may take unless the call says otherwise. Default 30000; Infinity: no limit. */
  readonly timeoutMs?: number;
  /**
   * Connects again when the server goes away, and puts the DMA maps and interrupts where they were. Commands that
   * are outstanding at that moment fail with ECONNRESET, since nobody knows whether the server carried them out;
   * commands that are given while there is no server wait for the next one. Default false: the client is then over.
   */
  readonly reconnect?: boolean | BackOff;
  /** Offers the server a socket of its own for DMA_READ and DMA_WRITE. Default true. */
  readonly twinSocket?: boolean;
  /** Most bytes of one data transfer. Default 1 MiB. */
  readonly maxDataXferSize?: number;
  /** Most descriptors that the server may send with one message. Default 64. */
  readonly maxMsgFds?: number;
}

/** What a client tells. */
export interface ClientEvents {
  /** The server is gone. */
  disconnected: [reason: VfioError];
  /** An attempt to connect again has failed; the next one follows. */
  reconnectFailed: [error: VfioError];
  /** There is a server again, with the old one's DMA maps and interrupts. Mapped regions are the caller's to redo. */
  reconnected: [];
}
