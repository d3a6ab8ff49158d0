import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { isRemoteUrl, MigrateError, type MigrateOptions } from "@vfiokit/user";
import { UsageError } from "../errors.js";
import { endSignal } from "../shared/signals.js";
import { addTlsOptions, type TlsOptions } from "../shared/tls-options.js";
import { compressions, type CompressionName } from "./compression.js";
import { migrateEnds } from "./ends.js";
import { recoverEnds } from "./recover.js";
import { reporter, type Reporter } from "./reporter.js";
import { timeoutOption } from "../shared/timeout.js";
import { parseBytes, parseTime } from "../shared/units.js";

/** QEMU's downtime-limit. */
const MAX_DOWNTIME_MS = 300;
const MAX_ROUNDS = 30;

interface MigrateCommandOptions extends TlsOptions {
  readonly maxDowntime: number;
  readonly maxRounds: number;
  readonly bandwidth?: number;
  readonly compression: CompressionName;
  readonly timeout: number;
  readonly dryRun?: true;
  readonly recover?: true;
  readonly json?: true;
}

/** `vfiokit migrate FROM TO`. */
export function migrateCommand(): Command {
  const command = new Command("migrate")
    .argument("<from>", "path of the server's socket, or of a relay's")
    .argument("<to>", "path of the other server's socket, or tls://host:port[/NAME] of a receiver")
    .addOption(
      new Option("--max-downtime <time>", "stop the device when the rest can be sent in this time")
        .argParser(parseTime("ms"))
        .default(MAX_DOWNTIME_MS, `${MAX_DOWNTIME_MS}ms`),
    )
    .addOption(
      new Option("--max-rounds <count>", "stop the device after this many rounds at the latest; 0: at once")
        .argParser(parseCount)
        .default(MAX_ROUNDS),
    )
    .addOption(
      new Option("--bandwidth <bytes>", "limit the rate, in bytes a second: 4096, 512K, 64M, 1G").argParser(
        (text: string) => parseBytes(text),
      ),
    )
    .addOption(
      new Option("--compression <how>", "compress what is sent to another host")
        .choices(compressions)
        .default("auto"),
    )
    .addOption(timeoutOption())
    .option("--dry-run", "only check whether the device can be migrated there")
    .option("--recover", "finish or undo a migration that was interrupted")
    .option("--json", "print each event as one line of JSON");
  addTlsOptions(command);
  return command.action((from: string, to: string, options: MigrateCommandOptions) => run(from, to, options));
}

async function run(from: string, to: string, options: MigrateCommandOptions): Promise<void> {
  if (isRemoteUrl(from)) throw new UsageError(`FROM ${from}: a receiver takes devices, and gives none`);
  if (options.recover && options.dryRun) throw new UsageError("give one of --recover and --dry-run");
  const ends = { from: resolve(from), to: isRemoteUrl(to) ? to : resolve(to) };
  if (options.recover) {
    await recoverEnds(ends, options, options.json === true);
    return;
  }
  const report = reporter(options.json === true);
  try {
    await migrateEnds(ends, options, settings(options, report), report);
  } catch (error) {
    if (error instanceof Error) report.failed(error, error instanceof MigrateError ? error : undefined);
    throw error;
  } finally {
    report.close();
  }
}

/** The first signal cancels, if it is not too late; a second one ends the command at once. */
function settings(options: MigrateCommandOptions, report: Reporter): MigrateOptions {
  const abort = new AbortController();
  void endSignal().then((signal) => {
    report.note(`${signal}: cancelling`);
    abort.abort(new Error(signal));
  });
  return {
    maxDowntime_ms: options.maxDowntime,
    maxRounds: options.maxRounds,
    bandwidth_Bps: options.bandwidth,
    dryRun: options.dryRun === true,
    signal: abort.signal,
  };
}

function parseCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError("must be a number, 0 or more.");
  return Number(text);
}
