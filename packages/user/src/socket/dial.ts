import { setTimeout as sleep } from "node:timers/promises";
import { connectUnix, SyscallError, type Fd } from "../linux/index.js";
import { abortError } from "./outstanding.js";

/** A server whose backlog is full is asked again this soon, in milliseconds. */
const BACKLOG_FULL_MS = 5;

/**
 * Connects; a server whose backlog is full is asked again.
 * @throws SyscallError ENOENT, ECONNREFUSED …; VfioError ECANCELED: `signal`
 */
export async function dial(path: string, timeoutMs: number, signal?: AbortSignal): Promise<Fd> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (signal?.aborted) throw abortError("connect", signal);
    try {
      return connectUnix(path);
    } catch (error) {
      const full = error instanceof SyscallError && error.code === "EAGAIN";
      if (!full || performance.now() >= deadline) throw error;
    }
    await sleep(BACKLOG_FULL_MS);
  }
}
