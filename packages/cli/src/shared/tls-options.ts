import { readFileSync } from "node:fs";
import { Option, type Command } from "commander";
import { VfioError } from "@vfiokit/core";
import { checkIdentity, type RemoteSecurity } from "@vfiokit/user";
import { CommandError, UsageError } from "../errors.js";
import { err } from "../output.js";

/** What `addTlsOptions` adds to a command's options. */
export interface TlsOptions {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly insecureLoopback?: true;
}

/** The options of every command that talks to another host. */
export function addTlsOptions(command: Command): Command {
  return command
    .option("--cert <file>", "this side's certificate (PEM)")
    .option("--key <file>", "its private key (PEM)")
    .option(
      "--ca <file>",
      "certificate authorities that the other side's certificate must be signed by (PEM)",
    )
    .addOption(
      new Option("--insecure-loopback", "plain TCP without certificates, for loopback addresses only"),
    );
}

/**
 * How to talk to another host. With --insecure-loopback it warns on standard error.
 * @throws UsageError: certificates are missing, or too many options; CommandError: a file is not what it should be
 */
export function remoteSecurity(options: TlsOptions): RemoteSecurity {
  const names = ["cert", "key", "ca"] as const;
  const missing = names.filter((name) => options[name] === undefined).map((name) => `--${name}`);
  if (options.insecureLoopback) {
    if (missing.length < names.length)
      throw new UsageError("give certificates or --insecure-loopback, not both");
    warn("--insecure-loopback: no encryption, and whoever can reach the port may give a device its state");
    return { kind: "insecure-loopback" };
  }
  if (missing.length > 0) {
    throw new UsageError(
      `no ${missing.join(", no ")}: both sides show a certificate and check the other's ` +
        "(--insecure-loopback does without, on 127.0.0.1 and ::1 only)",
    );
  }
  const [cert, key, ca] = names.map((name) => read(name, options[name]!)) as [string, string, string];
  const identity = { kind: "tls", cert, key, ca } as const;
  try {
    checkIdentity(identity);
  } catch (error) {
    throw error instanceof VfioError ? withFile(error, options) : error;
  }
  return identity;
}

function read(name: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new CommandError(`--${name} ${path}: ${(error as Error).message}`);
  }
}

/** "EACCES: key: it does not belong …" with the file instead of "key". */
function withFile(error: VfioError, options: TlsOptions): CommandError {
  const [, name, problem] = /^\w+: (\w+): (.*)$/s.exec(error.message)!;
  return new CommandError(`--${name!} ${options[name as "cert" | "key" | "ca"]!}: ${problem!}`);
}

function warn(message: string): void {
  err.line(`${err.style.red("warning:")} ${message}`);
}
