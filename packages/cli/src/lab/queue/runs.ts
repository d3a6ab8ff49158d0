import type { Redis } from "ioredis";

/** Everything of ours in Redis begins with this. */
export const PREFIX = "vfiokit-lab";
/** Runs under way, by the time until which they are believed to be. */
const RUNS = `${PREFIX}:runs`;
/** Says that it is worth looking at the runs. */
export const NEWS = `${PREFIX}:news`;
/** Seconds after which a run is over whose coordinator is not heard of. */
const LEASE = 60;
/** Seconds after which a coordinator is heard of. */
export const HEARTBEAT = 5;

/** A run that wants workers. */
export interface Run {
  readonly id: string;
  /** Of vfiokit: others would explore something else. */
  readonly version: string;
}

/** Names the version as well, so that nothing is taken from a queue by mistake. */
export function queueName({ id, version }: Run): string {
  return `${version}-${id}`;
}

export async function announce(redis: Redis, run: Run): Promise<void> {
  await redis.zadd(RUNS, (await now(redis)) + LEASE, JSON.stringify(run));
  await redis.publish(NEWS, "");
}

/** @returns false if others took the run for dead */
export async function stillThere(redis: Redis, run: Run): Promise<boolean> {
  await redis.zadd(RUNS, "XX", (await now(redis)) + LEASE, JSON.stringify(run));
  return (await redis.zscore(RUNS, JSON.stringify(run))) !== null;
}

export async function retract(redis: Redis, run: Run): Promise<void> {
  await redis.zrem(RUNS, JSON.stringify(run));
  await redis.publish(NEWS, "");
}

/** The runs under way, and those that nobody is left to end. */
export async function listRuns(redis: Redis): Promise<{ alive: Run[]; dead: Run[] }> {
  const time = await now(redis);
  const [alive, dead] = await Promise.all([
    redis.zrangebyscore(RUNS, time, "+inf"),
    redis.zrangebyscore(RUNS, "-inf", `(${time}`),
  ]);
  return { alive: alive.flatMap(parseRun), dead: dead.flatMap(parseRun) };
}

/** Deletes what is left of a run. */
export async function sweep(redis: Redis, run: Run): Promise<void> {
  for await (const keys of redis.scanStream({ match: `${PREFIX}:${queueName(run)}:*`, count: 1000 }))
    if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
}

/** What is no run is left alone. */
function parseRun(text: string): Run[] {
  try {
    const { id, version } = JSON.parse(text) as Partial<Run>;
    if (typeof id !== "string" || typeof version !== "string") return [];
    // They become a part of names.
    if (!/^[0-9a-f]{1,32}$/.test(id) || !/^[0-9A-Za-z.+-]{1,64}$/.test(version)) return [];
    return [{ id, version }];
  } catch {
    return [];
  }
}

/** Seconds, by Redis' clock: those of different machines differ. */
async function now(redis: Redis): Promise<number> {
  const [seconds] = await redis.time();
  return Number(seconds);
}
