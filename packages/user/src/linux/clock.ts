import { libc } from "./libc.js";
import { StableBuffer } from "./stable-buffer.js";

const CLOCK_MONOTONIC = 1;

/** struct timespec: seconds, nanoseconds. */
const timespec = new StableBuffer(16);

/** Milliseconds of the monotonic clock. Unlike performance.now() it allocates nothing. */
export function monotonicMs(): number {
  libc.clockGettime(CLOCK_MONOTONIC, timespec.address);
  return timespec.view.getUint32(0, true) * 1000 + timespec.view.getUint32(8, true) / 1e6;
}
