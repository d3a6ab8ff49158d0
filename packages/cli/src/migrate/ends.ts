import {
  connectRemoteTarget,
  isRemoteUrl,
  LocalSource,
  LocalTarget,
  migrate,
  RelayClient,
  type MigrateOptions,
  type MigrationTarget,
} from "@vfiokit/user";
import { CommandError } from "../errors.js";
import { remoteSecurity, type TlsOptions } from "../shared/tls-options.js";
import { chosenCompression, type CompressionName } from "./compression.js";
import type { Reporter } from "./reporter.js";

export interface Ends {
  readonly from: string;
  readonly to: string;
}

export interface EndOptions extends TlsOptions {
  readonly compression: CompressionName;
  /** Milliseconds that each answer may take. */
  readonly timeout: number;
}

/** @throws CommandError, UsageError, SyscallError, VfioError */
export async function migrateEnds(
  { from, to }: Ends,
  options: EndOptions,
  settings: MigrateOptions,
  report: Reporter,
): Promise<void> {
  const { timeout: timeoutMs } = options;
  using relay = await RelayClient.open(from, timeoutMs);
  if (relay) {
    await migrateBehind(relay, to, settings, report);
    return;
  }
  using source = await LocalSource.connect(from, { timeoutMs });
  const target = await connectTarget(to, options, settings.dryRun === true);
  try {
    await migrate(source, target, settings, (event) => report.event(event));
  } finally {
    target.close();
  }
}

/** The relay moves its device itself: it knows what the client has set up. */
async function migrateBehind(
  relay: RelayClient,
  to: string,
  { signal, maxDowntime_ms, maxRounds, bandwidth_Bps, dryRun }: MigrateOptions,
  report: Reporter,
): Promise<void> {
  if (isRemoteUrl(to))
    throw new CommandError(`${to}: the device's client is on this host, and its server has to be there too`);
  const options = { maxDowntime_ms, maxRounds, bandwidth_Bps, dryRun };
  const { pause_ms } = await relay.migrate(to, options, (event) => report.event(event), signal);
  if (dryRun !== true) report.note(`requests of the client waited for ${pause_ms.toFixed(1)} ms at most`);
}

function connectTarget(to: string, options: EndOptions, dryRun: boolean): Promise<MigrationTarget> {
  const compression = chosenCompression(options.compression);
  const reclaim = !dryRun;
  if (isRemoteUrl(to))
    return connectRemoteTarget(to, { security: remoteSecurity(options), compression, reclaim });
  return LocalTarget.connect(to, { reclaim, timeoutMs: options.timeout });
}
