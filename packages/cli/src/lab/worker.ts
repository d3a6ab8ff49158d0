import { Command } from "commander";
import { positive } from "./bounds.js";
import { loadQueue } from "./queue/load.js";
import { parseRedisUrl } from "./queue/url.js";
import { out } from "../output.js";

/** `vfiokit lab worker`: explores parts of the runs of others. */
export function workerCommand(): Command {
  return new Command("worker")
    .description("Explores parts of the runs that others began with --queue, until it is told to end.")
    .requiredOption("--queue <url>", "Redis or Valkey, as in redis://127.0.0.1:6379")
    .option("--concurrency <n>", "parts at once, each in a thread", "1")
    .addHelpText(
      "after",
      "\nSIGINT and SIGTERM end it when its parts are done; a worker that is lost is no loss.",
    )
    .action(work);
}

async function work(options: { readonly queue: string; readonly concurrency: string }): Promise<void> {
  const target = parseRedisUrl(options.queue);
  const concurrency = positive("--concurrency", options.concurrency);
  const end = new AbortController();
  const onSignal = (): void => end.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  const { serveRuns } = await loadQueue(() => import("./queue/serve.js")); // not before it is needed: commands start quickly
  try {
    await serveRuns({
      target,
      concurrency,
      say: (line) => out.line(line),
      signal: end.signal,
    });
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}
