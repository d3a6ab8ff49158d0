import {
  exploreSubtree,
  type Body,
  type RunSubtree,
  type SubtreeJob,
  type SubtreeOptions,
  type SubtreeResult,
} from "@vfiokit/explore";
import { generator } from "../../src/random.js";

export interface Scrambled {
  readonly run: RunSubtree;
  /** Jobs that were given out. */
  readonly jobs: SubtreeJob[];
}

/**
 * Runs jobs as many workers would: what is sent goes through JSON, jobs end in an order drawn by lot, and every fifth
 * or so is done twice, since the first who did it was lost before saying so.
 */
export function scrambled(body: Body, options: SubtreeOptions, seed: number): Scrambled {
  const random = generator(seed);
  const below = (bound: number): number => Math.floor(random() * bound);
  const jobs: SubtreeJob[] = [];
  const waiting: {
    job: SubtreeJob;
    signal: AbortSignal;
    resolve: (result: SubtreeResult) => void;
    reject: (error: unknown) => void;
  }[] = [];
  let running = false;
  const work = async (): Promise<void> => {
    running = true;
    for (;;) {
      await Promise.resolve(); // lets others hand in more
      const [next] = waiting.splice(below(waiting.length), 1);
      if (!next) break;
      const { signal, resolve, reject } = next;
      const job = sent(next.job);
      try {
        if (below(5) === 0) await exploreSubtree(body, job, { ...options, signal });
        resolve(sent(await exploreSubtree(body, job, { ...options, signal })));
      } catch (error) {
        reject(error);
      }
    }
    running = false;
  };
  return {
    jobs,
    run: (job, signal) =>
      new Promise((resolve, reject) => {
        jobs.push(job);
        waiting.push({ job, signal, resolve, reject });
        if (!running) void work();
      }),
  };
}

const sent = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
