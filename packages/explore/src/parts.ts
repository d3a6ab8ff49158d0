import { toBeTried, type Demand } from "./demand.js";
import type { ExploreOptions } from "./explore.js";
import { KnowledgePool } from "./knowledge-pool.js";
import type { Knowledge } from "./needs.js";
import { Part, Place, type Item } from "./places.js";
import { reportOf, type ExploreReport } from "./report.js";
import type { SubtreeJob, SubtreeResult } from "./subtree.js";
import { Tally } from "./tally.js";

/** Runs a job somewhere. It may be run twice, or anew when whoever ran it is lost: the result is the same. */
export type RunSubtree = (job: SubtreeJob, signal: AbortSignal) => Promise<SubtreeResult>;

/** How `exploreParts` shares out the work. */
export interface PartsOptions extends Pick<
  ExploreOptions,
  | "maxDepth"
  | "maxExecutions"
  | "maxPreemptions"
  | "keepGoing"
  | "plainFields"
  | "awaits"
  | "signal"
  | "onProgress"
> {
  readonly strategy?: "exhaustive" | "all";
  /** Executions of one job. Default 256. */
  readonly jobExecutions?: number;
}

const JOB_EXECUTIONS = 256;

/**
 * Explores in jobs that others run at the same time: the executions of `explore`, in another order, and so the same
 * report, however many run them and whoever is first.
 *
 * A job is a subtree of the schedules, and what comes of it is a function of the job. When it has used up its
 * executions, it says where it stopped, and what is left below each place of its path becomes a job. Two things tie
 * the jobs together, and both are kept as in a search that does one after the other:
 *
 * - The sleep set of a thread tried at a place has the threads tried there before it. So its job waits until these have
 *   run once, and it is known what they touch. That they are being explored, and not explored, is the same to it.
 * - A race found in a job can demand that another thread is tried above it. What that comes to depends on the demands
 *   that were met there before. So each place takes the demands of what is below it in the order of the search: those
 *   of its first thread, then of its second, and so on, and lets those wait that come too early.
 *
 * A bound on executions is kept by running one job.
 * @throws whatever `run` rejects with
 */
export async function exploreParts(run: RunSubtree, options: PartsOptions = {}): Promise<ExploreReport> {
  const tally = new Tally();
  const pool = new KnowledgePool(reduces(options));
  let pass: Pass;
  do {
    pass = new Pass(run, pool, tally, options);
    await pass.finished;
    // What events touch was not known well enough: as in `explore`, the search begins anew.
  } while (!pass.stopped && options.maxExecutions === undefined && pool.takeOutdated());
  return reportOf({ ...tally.found, ended: pass.ended, bounded: pass.bounded }, options);
}

function reduces({ strategy, maxPreemptions }: PartsOptions): boolean {
  return strategy !== "all" && maxPreemptions === undefined;
}

/** One search through all parts, with the same knowledge in all of them but the first. */
class Pass {
  readonly finished: Promise<void>;
  /** Bounds have left schedules out. */
  bounded = false;
  /** It is over before everything was explored. */
  stopped = false;
  #base: Knowledge;
  readonly #whole = new Part("", undefined);
  readonly #stop = new AbortController();
  #running = 0;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor(
    private readonly run: RunSubtree,
    private readonly pool: KnowledgePool,
    private readonly tally: Tally,
    private readonly options: PartsOptions,
  ) {
    this.#base = pool.knowledge();
    this.finished = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { signal } = options;
    const interrupt = (): void => this.#halt();
    signal?.addEventListener("abort", interrupt, { once: true });
    const cleanUp = (): void => signal?.removeEventListener("abort", interrupt);
    this.finished.then(cleanUp, cleanUp);
    if (signal?.aborted) this.#halt();
    else this.#start(this.#whole);
    this.#settle();
  }

  /** Everything was explored. */
  get ended(): boolean {
    return !this.stopped && this.#whole.done;
  }

  #halt(): void {
    this.stopped = true;
    this.#stop.abort();
  }

  #start(part: Part): void {
    const { maxExecutions, jobExecutions = JOB_EXECUTIONS } = this.options;
    const job: SubtreeJob = {
      ...(part.place?.root(part) ?? { prefix: [], sleep: {} }),
      knowledge: this.#base,
      executions: maxExecutions ?? jobExecutions,
    };
    this.#running++;
    this.run(job, this.#stop.signal)
      .then((result) => this.#take(part, job, result))
      .catch((error: unknown) => {
        if (!this.stopped) this.#reject(error);
        this.#halt();
      })
      .finally(() => {
        this.#running--;
        this.#settle();
      });
  }

  /** A job is done. */
  #take(part: Part, job: SubtreeJob, result: SubtreeResult): void {
    part.touched = result.touched;
    part.out.push({ result }, ...result.demands.map((demand) => ({ demand })));
    this.pool.add(result);
    // The first job finds out most of what there is to know, and begins anew by itself while it does.
    if (part === this.#whole) this.#base = this.pool.knowledge();
    const { keepGoing, maxExecutions } = this.options;
    if (maxExecutions !== undefined && !result.ended) this.stopped = true;
    const isEnough = result.failures.length > 0 && !keepGoing;
    const isVain = part === this.#whole && result.outdated;
    if (isEnough || isVain || this.stopped || result.places.length === 0) part.done = true;
    else this.#open(part, job, result);
    if (part.place) this.#startNext(part.place);
    this.#handOn(part);
  }

  /** Shares out what a job has left. */
  #open(part: Part, { prefix }: SubtreeJob, { places }: SubtreeResult): void {
    let owner = part;
    let path = prefix;
    const opened = places.map(({ chosen, backtrack, sleep }, i) => {
      const place = new Place(path, sleep, owner);
      owner.inner = place;
      if (i < places.length - 1) {
        // What the job has begun here goes on at the next place.
        owner = place.begun(chosen);
        path = [...path, chosen];
      }
      for (const thread of backtrack) place.add(thread);
      return place;
    });
    for (const place of opened) this.#startNext(place);
  }

  /** Starts what can be started at a place: those whose elder siblings have run once. */
  #startNext(place: Place): void {
    while (!this.stopped) {
      const part = place.next(reduces(this.options));
      if (!part) return;
      this.#start(part);
    }
  }

  /** Hands on what has come of a part, if it is its turn. */
  #handOn(part: Part): void {
    const { place } = part;
    if (!place) for (const item of part.out.splice(0)) this.#count(item);
    else if (place.parts[place.at] === part) {
      for (let next: Part | undefined = part; next; next = next.done ? place.parts[++place.at] : undefined)
        for (const item of next.out.splice(0)) {
          if ("demand" in item && item.demand.depth === place.path.length) this.#meet(place, item.demand);
          else place.owner.out.push(item);
        }
      if (place.at === place.parts.length) place.owner.done = true;
      this.#handOn(place.owner);
    }
  }

  #meet(place: Place, demand: Demand): void {
    for (const thread of toBeTried(demand, (each) => place.isSettled(each))) place.add(thread);
    this.#startNext(place);
  }

  /** What has come of everything, in the order of the search. */
  #count(item: Item): void {
    if ("demand" in item) throw new Error(`no place is left for a demand at ${item.demand.depth}`);
    const isEnough = this.tally.failures.length > 0 && !this.options.keepGoing;
    if (isEnough) return;
    const { result } = item;
    this.tally.merge(result);
    this.bounded ||= result.bounded;
    if (this.tally.failures.length > 0 && !this.options.keepGoing) this.#halt();
    this.options.onProgress?.(this.tally.progress);
  }

  #settle(): void {
    if (this.#running > 0) return;
    if (this.options.signal?.aborted) this.#flush(this.#whole);
    this.#resolve();
  }

  /** Nobody waits any more for what should come first: what has come is counted as it is. */
  #flush(part: Part): void {
    for (const item of part.out.splice(0)) if ("result" in item) this.#count(item);
    for (const each of part.inner?.parts ?? []) this.#flush(each);
  }
}
