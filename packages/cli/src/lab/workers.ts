import { Worker } from "node:worker_threads";
import type { Bounds, Design, LabProgress, LabReport, Scenario } from "@vfiokit/lab";

/** What a worker is asked to do. Designs are code, so they go by name. */
export interface Job {
  readonly design: string;
  readonly scenarios: readonly string[];
  readonly bounds: Bounds;
}

export type FromWorker = { readonly progress: LabProgress } | { readonly report: LabReport };

interface WorkersOptions {
  readonly designs: readonly Design[];
  readonly scenarios: readonly Scenario[];
  readonly bounds: Bounds;
  readonly workers: number;
  readonly signal: AbortSignal;
  /** One element a design. */
  readonly onProgress: (progress: readonly LabProgress[]) => void;
}

/**
 * Shares the designs among threads. A design stays in one: its graph of lock orders is of all its scenarios, so that
 * the verdicts are those of a single thread.
 */
export async function runInWorkers(options: WorkersOptions): Promise<readonly LabReport[]> {
  const { designs, scenarios, bounds, workers, signal, onProgress } = options;
  const names = scenarios.map(({ name }) => name);
  const progress: LabProgress[] = designs.map(({ name }) => ({
    done: 0,
    total: names.length,
    executions: 0,
    design: name,
  }));
  const reports: LabReport[] = [];
  const queue = [...designs.entries()];
  const serve = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [at, { name }] = next;
      reports[at] = await runJob({ design: name, scenarios: names, bounds }, signal, (done) => {
        progress[at] = done;
        onProgress(progress.filter((each) => each.executions > 0));
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(workers, designs.length) }, serve));
  return reports;
}

function runJob(
  job: Job,
  signal: AbortSignal,
  onProgress: (progress: LabProgress) => void,
): Promise<LabReport> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: job });
    const stop = (): void => worker.postMessage("stop");
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    worker.on("message", (message: FromWorker) => {
      if ("progress" in message) onProgress(message.progress);
      else resolve(message.report);
    });
    worker.once("error", reject);
    worker.once("exit", (code) => {
      signal.removeEventListener("abort", stop);
      reject(new Error(`a worker ended with ${code}`)); // after its report, this is nothing new
    });
  });
}
