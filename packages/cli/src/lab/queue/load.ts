import { CommandError } from "../../errors.js";

/**
 * Imports what needs BullMQ and ioredis: optional peers, of use with `--queue` only.
 * @throws CommandError if they are not installed
 */
export async function loadQueue<T>(load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND")
      throw new CommandError("--queue needs BullMQ and ioredis: npm install bullmq ioredis", {
        cause: error,
      });
    throw error;
  }
}
