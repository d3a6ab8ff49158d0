import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { accessSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lockdep } from "@vfiokit/lockdep";
import { instrument } from "@vfiokit/lockdep/instrument";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { outcome } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();

/** A lock of one Redis key each, as redlock has it: acquire gives an object that releases itself. */
class RedisLocks {
  constructor(private readonly redis: Redis) {}

  async acquire(keys: readonly string[], ttl: number): Promise<{ release(): Promise<void> }> {
    const token = randomUUID();
    for (const key of keys)
      while ((await this.redis.set(key, token, "PX", ttl, "NX")) === null)
        await new Promise((resolve) => setTimeout(resolve, 2));
    return {
      release: async () => {
        for (const key of keys) if ((await this.redis.get(key)) === token) await this.redis.del(key);
      },
    };
  }
}

const SERVER = "/usr/bin/redis-server";
const has = (() => {
  try {
    accessSync(SERVER);
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!has)("locks in Redis, by instrument", () => {
  let folder: string;
  let server: ChildProcess;
  let redis: Redis;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "lockdep-redis-"));
    const socket = join(folder, "redis.sock");
    server = spawn(SERVER, ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder], {
      stdio: "ignore",
    });
    redis = new Redis(socket, { retryStrategy: () => 20, maxRetriesPerRequest: null });
    redis.on("error", () => undefined); // until the server is there
    await redis.ping();
  });
  afterAll(async () => {
    redis.disconnect();
    server.kill();
    await new Promise((resolve) => server.once("exit", resolve));
    await rm(folder, { recursive: true });
  });

  const make = () =>
    instrument(new RedisLocks(redis), { name: "redis", keys: (keys: readonly string[]) => keys });

  it("finds the wrong order, by the classes of the keys", async () => {
    const locks = make();
    const nest = async (outer: string, inner: string): Promise<void> => {
      const first = await locks.acquire([outer], 10_000);
      try {
        const second = await locks.acquire([inner], 10_000);
        await second.release();
      } finally {
        await first.release();
      }
    };
    await nest("user:1", "order:1");
    expect(lockdep.orders).toMatchObject([{ from: "redis user:*", to: "redis order:*" }]);
    expect(await outcome(nest("order:2", "user:2"))).toMatchObject({
      rejected: { problem: { kind: "cycle" } },
    });
    expect(await redis.keys("*")).toEqual([]);
  });

  it("sees waits within the process, and who holds meanwhile", async () => {
    const locks = make();
    const first = await locks.acquire(["a"], 10_000);
    const second = locks.acquire(["a"], 10_000);
    await first.release();
    await (await second).release();
    expect(lockdep.problems).toEqual([]);
  });
});
