import { parentPort, workerData } from "node:worker_threads";
import { catalogue, designs, runLab } from "@vfiokit/lab";
import type { FromWorker, Job } from "./workers.js";

// One design in a thread of its own: workers.ts starts it.

const job = workerData as Job;
const port = parentPort!;
const send = (message: FromWorker): void => port.postMessage(message);
const stopped = new AbortController();
port.on("message", () => stopped.abort());

const wanted = new Set(job.scenarios);
const report = await runLab({
  designs: designs.filter(({ name }) => name === job.design),
  scenarios: catalogue.filter(({ name }) => wanted.has(name)),
  bounds: job.bounds,
  signal: stopped.signal,
  onProgress: (progress) => send({ progress }),
});
send({ report });
port.close();
