import { randomBytes } from "node:crypto";
import { Queue, QueueEvents } from "bullmq";
import type { Elsewhere, LabPart, LabPartResult } from "@vfiokit/lab";
import { CommandError } from "../../errors.js";
import { err } from "../../output.js";
import { version } from "../../version.js";
import { connect, connectionOf } from "./redis.js";
import { announce, HEARTBEAT, PREFIX, queueName, retract, stillThere, sweep, type Run } from "./runs.js";
import { checkResult } from "./schema.js";
import type { RedisTarget } from "./url.js";

/** A run whose parts are explored by workers anywhere. Disposing of it removes all of it from Redis. */
export interface QueuedRun extends Elsewhere, AsyncDisposable {
  readonly id: string;
}

/** Parts in the queue: enough for many workers, and few enough that large scenarios are not begun last. */
const PARTS = 64;
/** Seconds without a word of Redis after which it is gone. */
const SILENCE = 15;
/** Milliseconds that workers have to say goodbye, and that everything has to be removed in. */
const GOODBYE = 3000;
const REMOVAL = 10_000;

interface Waiting {
  readonly part: LabPart;
  resolve(result: LabPartResult): void;
  reject(error: unknown): void;
}

/** Opens a queue that workers find. @throws CommandError if Redis cannot be used */
export async function openRun(target: RedisTarget): Promise<QueuedRun> {
  const redis = await connect(target);
  const run: Run = { id: randomBytes(6).toString("hex"), version };
  let over = false;
  const options = { connection: connectionOf(target, () => over), prefix: PREFIX };
  const queue = new Queue<LabPart>(queueName(run), options);
  const events = new QueueEvents(queueName(run), { ...options, lastEventId: "0-0" });
  // What cannot be sent waits until there is a connection again.
  const ignore = (): void => undefined;
  queue.on("error", ignore);
  events.on("error", ignore);

  const waiting = new Map<string, Waiting>();
  let parts = 0;
  let broken: Error | undefined;
  const take = (id: string): Waiting | undefined => {
    const found = waiting.get(id);
    waiting.delete(id);
    return found;
  };
  const fail = (error: Error): void => {
    broken = error;
    for (const id of [...waiting.keys()]) take(id)!.reject(error);
  };
  // A part that was done twice, since its first worker was taken for lost, counts once: both came to the same.
  events.on("completed", ({ jobId, returnvalue }: { jobId: string; returnvalue: unknown }) => {
    const done = take(jobId);
    if (!done) return;
    try {
      done.resolve(checkResult(returnvalue, done.part));
    } catch (error) {
      done.reject(new CommandError(`${jobId}: what a worker sent is not a result: ${messageOf(error)}`));
    }
  });
  events.on("failed", ({ jobId, failedReason }) =>
    take(jobId)?.reject(new CommandError(`${jobId}: a worker could not do it: ${failedReason}`)),
  );

  try {
    await events.waitUntilReady();
    await announce(redis, run);
  } catch (error) {
    over = true;
    redis.disconnect();
    await Promise.all([events.close(), queue.close()]).catch(ignore);
    throw new CommandError(`Redis at ${target.shown} takes no run: ${messageOf(error)}`, { cause: error });
  }
  let heard = performance.now();
  const heartbeat = setInterval(() => {
    stillThere(redis, run).then((there) => {
      heard = performance.now();
      if (!there) fail(new CommandError(`run ${run.id} was given up by its workers: Redis was out of reach`));
    }, ignore);
    const silence = Math.round((performance.now() - heard) / 1000);
    if (silence > SILENCE)
      fail(new CommandError(`Redis at ${target.shown} has not answered for ${silence} s`));
  }, HEARTBEAT * 1000);
  const remove = async (): Promise<void> => {
    await retract(redis, run);
    await goodbye(() => queue.getWorkersCount());
    await events.close();
    await queue.obliterate({ force: true });
    await sweep(redis, run);
  };

  return {
    id: run.id,
    parts: PARTS,
    async run(part, signal) {
      if (broken) throw broken;
      signal.throwIfAborted();
      const id = `part-${++parts}`;
      const abort = (): void => take(id)?.reject(signal.reason);
      signal.addEventListener("abort", abort);
      try {
        return await new Promise<LabPartResult>((resolve, reject) => {
          waiting.set(id, { part, resolve, reject });
          queue
            .add("part", part, { jobId: id, removeOnComplete: true, removeOnFail: true })
            .catch((error: unknown) =>
              take(id)?.reject(
                new CommandError(`Redis at ${target.shown} does not take ${id}: ${messageOf(error)}`, {
                  cause: error,
                }),
              ),
            );
        });
      } finally {
        signal.removeEventListener("abort", abort);
      }
    },
    async [Symbol.asyncDispose]() {
      clearInterval(heartbeat);
      fail(new CommandError("the run is over"));
      const removed = await withinTime(remove(), REMOVAL);
      over = true; // a connection that is not there is not tried again
      const closed = Promise.all([events.close(), queue.close()]).catch(ignore);
      if (removed) await closed;
      redis.disconnect();
      if (!removed) err.line(`run ${run.id} could not be removed from Redis: a worker will do so`);
    },
  };
}

/** Waits until the workers have left the queue, so that none of them writes to it any more. */
async function goodbye(workers: () => Promise<number>): Promise<void> {
  const begun = performance.now();
  while ((await workers()) > 0 && performance.now() - begun < GOODBYE)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

/** @returns false if it takes longer than that, or fails */
async function withinTime(done: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  try {
    return await Promise.race([
      done.then(
        () => true,
        () => false,
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
