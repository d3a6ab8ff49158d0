import { VfioError } from "@vfiokit/core";
import { AdminClient, controlPath, keptAway, VfioUserClient } from "@vfiokit/user";
import { isKernelAddress, openKernelDevice, type KernelDevice } from "@vfiokit/user/kernel";
import { CommandError } from "../errors.js";

/** A server takes one client at a time: it answers others with EBUSY, or closes before it has said anything. */
const NO_ANSWER: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "EBUSY"]);

/**
 * Connects to the server at a path, or opens a device of the kernel's.
 * @param timeoutMs for each answer of a server
 * @throws CommandError, SyscallError, VfioError
 */
export async function connectDevice(name: string, timeoutMs: number): Promise<VfioUserClient | KernelDevice> {
  return isKernelAddress(name) ? openKernelDevice(name) : connect(name, timeoutMs);
}

async function connect(path: string, timeoutMs: number): Promise<VfioUserClient> {
  try {
    return await VfioUserClient.connect(path, { timeoutMs });
  } catch (error) {
    if (error instanceof VfioError && NO_ANSWER.has(error.code)) {
      const kept = await whyKeptAway(path, timeoutMs);
      if (kept !== undefined) throw new CommandError(`${path}: ${kept}`);
      throw new CommandError(
        `${path}: no answer (${error.code}). Is another client, such as QEMU, attached?`,
      );
    }
    throw error;
  }
}

/** A server whose device is in a hand-over turns everybody away: its administrator is told why. */
async function whyKeptAway(path: string, timeoutMs: number): Promise<string | undefined> {
  try {
    using admin = new AdminClient(controlPath(path));
    const { handOver } = await admin.request({ command: "info" }, { timeoutMs });
    return handOver && keptAway(handOver, path);
  } catch {
    return undefined; // nobody to ask
  }
}
