import {
  connectRemoteTarget,
  isRemoteUrl,
  LocalSource,
  LocalTarget,
  migrate,
  type MigrateOptions,
  type MigrationTarget,
} from "@vfiokit/user";
import { remoteSecurity, type TlsOptions } from "../tls-options.js";
import { chosenCompression, type CompressionName } from "./compression.js";
import type { Reporter } from "./reporter.js";

export interface Ends {
  readonly from: string;
  readonly to: string;
}

export interface EndOptions extends TlsOptions {
  readonly compression: CompressionName;
}

/** @throws CommandError, UsageError, SyscallError, VfioError */
export async function migrateEnds(
  { from, to }: Ends,
  options: EndOptions,
  settings: MigrateOptions,
  report: Reporter,
): Promise<void> {
  using source = await LocalSource.connect(from);
  const target = await connectTarget(to, options, settings.dryRun === true);
  try {
    await migrate(source, target, settings, (event) => report.event(event));
  } finally {
    target.close();
  }
}

function connectTarget(to: string, options: EndOptions, dryRun: boolean): Promise<MigrationTarget> {
  const compression = chosenCompression(options.compression);
  if (isRemoteUrl(to)) return connectRemoteTarget(to, { security: remoteSecurity(options), compression });
  return LocalTarget.connect(to, { reclaim: !dryRun });
}
