import type { RedisOptions } from "bullmq";
import { Redis } from "ioredis";
import { CommandError } from "../../errors.js";
import type { RedisTarget } from "./url.js";

/**
 * What BullMQ connects with: commands wait for a connection that is lost, and comes again.
 * @param isOver nobody waits any more
 */
export function connectionOf({ options }: RedisTarget, isOver: () => boolean): RedisOptions {
  return {
    ...options,
    maxRetriesPerRequest: null,
    retryStrategy: (times) => (isOver() ? null : retryStrategy(times)),
  };
}

/** @throws CommandError where there is no such server, or it does not let us in */
export async function connect({ options, shown }: RedisTarget): Promise<Redis> {
  let isReady = false;
  const redis = new Redis({
    ...options,
    lazyConnect: true,
    connectTimeout: 5000,
    maxRetriesPerRequest: null,
    retryStrategy: (times) => (isReady ? retryStrategy(times) : null),
  });
  let reason: Error | undefined;
  redis.on("error", (error: Error) => (reason = error));
  try {
    await redis.connect();
    await redis.ping();
    isReady = true;
    return redis;
  } catch (error) {
    redis.disconnect();
    const cause = reason ?? (error instanceof Error ? error : new Error(String(error)));
    throw new CommandError(`Redis at ${shown} cannot be used: ${cause.message || cause.name}`);
  }
}

/** Milliseconds until the next try. */
const retryStrategy = (times: number): number => Math.min(times * 100, 2000);
