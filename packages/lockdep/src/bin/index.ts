/// <reference types="node" />
/**
 * The command `lockdep`, and what commands of ours have in common. For `vfiokit`, which has `vfiokit lockdep`; other programs
 * find what it does in `@vfiokit/lockdep/protocol` and `/explain`. What a command needs is loaded when it runs.
 */
import type { Command } from "commander";
import type { FileScenario } from "./load.js";

export { CommandError, ExitCode, UsageError } from "./errors.js";
export { err, out, Output, printableJson, shown } from "./output.js";
export { runCommandLine } from "./run.js";
export { Style } from "./style.js";
export type { FileScenario } from "./load.js";

/** `lockdep check` and `lockdep explain`, for commander. */
export async function lockdepCommand(): Promise<Command> {
  return (await import("./command.js")).lockdepCommand();
}

/**
 * The scenarios of lock protocol files.
 * @param name only those of this name
 * @throws CommandError for a file that cannot be read or is no lock protocol, UsageError if no scenario is called so
 */
export async function loadScenarios(
  files: readonly string[],
  name: string | undefined,
): Promise<readonly FileScenario[]> {
  return (await import("./load.js")).loadScenarios(files, name);
}
