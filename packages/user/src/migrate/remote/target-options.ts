import type { Log } from "../../server/options.js";
import type { RemoteAddress } from "./address.js";
import type { Codec } from "./compression.js";
import type { FrameValue } from "./protocol.js";
import type { RemoteSecurity } from "./security.js";
import type { Timing } from "./timing.js";

/** How to reach a receiver on another host. */
export interface RemoteTargetOptions {
  readonly security: RemoteSecurity;
  /** Make the bytes smaller on the way, where both ends can. Default "none". */
  readonly compression?: "none" | "zstd" | undefined;
  /** As `LocalTargetOptions.reclaim`. */
  readonly reclaim?: boolean | undefined;
  readonly log?: Log | undefined;
  readonly timing?: Partial<Timing> | undefined;
  /** Instead of Node's own. */
  readonly codec?: Codec | undefined;
}

/** How a target was connected. */
export interface Settings {
  readonly url: string;
  readonly address: RemoteAddress;
  /** Of the first connection. */
  readonly hello: FrameValue<"HELLO">;
  readonly timing: Timing;
  readonly codec: Codec | undefined;
  readonly options: RemoteTargetOptions;
}
