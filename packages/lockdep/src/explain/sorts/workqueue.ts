import { list } from "../../report/words.js";
import type { Report } from "../report.js";
import { picture, type Sort } from "./sort.js";

/** No work of a pool has begun for a long time, though some wait. */
export interface WorkqueueProblem {
  readonly kind: "workqueue-lockup";
  /** "cpus=0 node=0 flags=0x0 nice=0" and how long each has been stuck. */
  readonly pools: readonly { readonly pool: string; readonly seconds: number }[];
  /** "Showing busy workqueues": each with the works that run and those that wait. */
  readonly queues: readonly {
    readonly name: string;
    readonly running: readonly string[];
    readonly pending: readonly string[];
  }[];
}

export const workqueue: Sort<WorkqueueProblem> = {
  name: "workqueue-lockup",
  title: /^BUG: (workqueue lockup)/,
  kinds: ["workqueue-lockup"],
  sections: [],
  read,
  words: ({ pools, queues }) => {
    const busy = queues.flatMap(({ name, running }) => running.map((work) => `${work} (workqueue ${name})`));
    const waiting = queues.flatMap(({ pending }) => pending);
    return [
      ...pools.map(
        ({ pool, seconds }) =>
          `The workers of the pool ${pool} have begun no work for ${seconds} s, though some is waiting.`,
      ),
      busy.length > 0
        ? `Under way: ${list(busy)}: one of them keeps its processor, or waits for a work behind it.`
        : "The report does not say which work is under way.",
      ...(waiting.length > 0 ? [`Waiting: ${list(waiting)}.`] : []),
      "",
      "What to do: find what runs on that processor without sleeping (a loop, interrupts off, a real-time task). Works that are long want WQ_CPU_INTENSIVE or WQ_UNBOUND; works that wait for each other want workqueues of their own.",
    ];
  },
  graph: ({ pools, queues }) =>
    picture(
      "Stuck pools, and what runs on their workers",
      queues.flatMap(({ running }) => [...running]),
      pools.flatMap(({ pool, seconds }) => {
        const running = queues.flatMap((queue) => queue.running.map((work) => ({ work, queue: queue.name })));
        return running.length > 0
          ? running.map(({ work, queue }) => ({
              from: pool,
              to: work,
              label: [`stuck for ${seconds} s`, queue],
              culprit: true,
            }))
          : [{ from: pool, to: "not told", label: [`stuck for ${seconds} s`], culprit: true }];
      }),
    ),
};

function read(report: Report): WorkqueueProblem {
  const pools = report.lines.flatMap((line) => {
    const match = /^BUG: workqueue lockup - pool (.*) stuck for (\d+)s!/.exec(line);
    return match ? [{ pool: match[1]!.trim(), seconds: Number(match[2]) }] : [];
  });
  report.need(pools[0], "the pool");
  const queues: { name: string; running: string[]; pending: string[] }[] = [];
  const works = (line: string, key: string): string[] | undefined => {
    const found = new RegExp(`^${key}: (.*)$`).exec(line)?.[1];
    return found
      ?.split(/,\s*/)
      .flatMap((work) => /(?:\d+(?:\(RESCUER\))?:)?([\w.$]+)/.exec(work.replace(/ for \d+s/, ""))?.[1] ?? []);
  };
  for (const line of report.lines) {
    const name = /^workqueue (.+): flags=/.exec(line)?.[1];
    if (name !== undefined) queues.push({ name, running: [], pending: [] });
    queues.at(-1)?.running.push(...(works(line, "in-flight") ?? []));
    queues.at(-1)?.pending.push(...(works(line, "pending") ?? []));
  }
  return { kind: "workqueue-lockup", pools, queues };
}
