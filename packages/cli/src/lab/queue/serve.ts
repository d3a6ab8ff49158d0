import { hostname } from "node:os";
import { Worker } from "bullmq";
import type { LabPart, LabPartResult } from "@vfiokit/lab";
import { version } from "../../version.js";
import { startThreads } from "../threads.js";
import { connect, connectionOf } from "./redis.js";
import { listRuns, NEWS, PREFIX, queueName, retract, sweep, type Run } from "./runs.js";
import { checkPart } from "./schema.js";
import type { RedisTarget } from "./url.js";

/** Milliseconds after which a part's worker is lost that does not say that it is alive; it does so twice in this time. */
const LOCK = 4000;
/** Milliseconds between looks for lost ones. */
const STALLED = 2000;
/** Workers that one part may lose: then it is the part. */
const LOSSES = 20;
/** Milliseconds between looks at the runs, if there is no news. */
const LOOK = 5000;

export interface ServeOptions {
  readonly target: RedisTarget;
  /** Parts at once, each in a thread. */
  readonly concurrency: number;
  /** Tells the user something. */
  readonly say: (line: string) => void;
  /** Ends it, when the parts under way are done. */
  readonly signal: AbortSignal;
}

interface Serving {
  readonly worker: Worker<LabPart, LabPartResult>;
  readonly stop: AbortController;
  parts: number;
}

/** Explores parts of whatever runs there are, until it is told to end. @throws CommandError if Redis cannot be used */
export async function serveRuns({ target, concurrency, say, signal }: ServeOptions): Promise<void> {
  const redis = await connect(target);
  const news = redis.duplicate();
  const ignore = (): void => undefined;
  news.on("error", ignore);
  await using threads = await startThreads(concurrency);
  const serving = new Map<string, Serving>();
  const refused = new Set<string>();

  const begin = (run: Run): void => {
    const stop = new AbortController();
    const worker = new Worker<LabPart, LabPartResult>(
      queueName(run),
      ({ data }) => threads.run(checkPart(data), stop.signal),
      {
        name: `${hostname()} ${process.pid}`,
        connection: connectionOf(target, () => signal.aborted),
        prefix: PREFIX,
        concurrency,
        lockDuration: LOCK,
        stalledInterval: STALLED,
        maxStalledCount: LOSSES,
      },
    );
    const served: Serving = { worker, stop, parts: 0 };
    worker.on("error", ignore); // what cannot be said is said again, or the part is done again
    worker.on("completed", () => served.parts++);
    serving.set(run.id, served);
    say(`run ${run.id}: begins`);
  };
  const end = async (id: string): Promise<void> => {
    const { worker, stop, parts } = serving.get(id)!;
    serving.delete(id);
    stop.abort();
    await worker.close(true);
    say(`run ${id}: over, ${parts} parts done here`);
  };
  const look = async (): Promise<void> => {
    const { alive, dead } = await listRuns(redis);
    for (const run of alive) {
      if (run.version !== version) {
        if (!refused.has(run.id))
          say(`run ${run.id} is refused: it is of vfiokit ${run.version}, and this is ${version}`);
        refused.add(run.id);
      } else if (!serving.has(run.id)) begin(run);
    }
    for (const id of serving.keys()) if (!alive.some((run) => run.id === id)) await end(id);
    for (const run of dead) {
      await sweep(redis, run);
      await retract(redis, run);
      say(`run ${run.id}: nobody waits for it any more; it is removed`);
    }
  };

  // One look after the other; news that come meanwhile ask for another.
  let looking = Promise.resolve();
  const lookSoon = (): void => {
    looking = looking.then(look).catch(ignore); // without a connection there is nothing to see
  };
  const over = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await news.subscribe(NEWS);
  news.on("message", lookSoon);
  const timer = setInterval(lookSoon, LOOK);
  lookSoon();
  await looking;
  say(`waiting for runs at ${target.shown}: vfiokit ${version}, ${concurrency} at once`);
  await over;
  clearInterval(timer);
  news.disconnect();
  await looking;
  await Promise.all([...serving.values()].map(({ worker }) => worker.close()));
  redis.disconnect();
}
