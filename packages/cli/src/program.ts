import { Command, CommanderError } from "commander";
import { ctlCommand } from "./ctl/command.js";
import { infoCommand } from "./info/command.js";
import { demoCommand } from "./demo/command.js";
import { labCommand } from "./lab/index.js";
import { lockdepCommand } from "./lockdep/index.js";
import { migrateCommand } from "./migrate/command.js";
import { receiveCommand } from "./receive/command.js";
import { relayCommand } from "./relay/command.js";
import { restoreCommand } from "./restore/command.js";
import { saveCommand } from "./save/command.js";
import { serveCommand } from "./serve/command.js";
import { streamCommand } from "./stream/command.js";
import { CommandError, ExitCode, UsageError } from "./errors.js";
import { Style } from "./style.js";
import { version } from "./version.js";

function createProgram(): Command {
  return new Command("vfiokit")
    .description("Builds, serves, migrates and proves PCI devices.")
    .version(version)
    .addCommand(serveCommand())
    .addCommand(migrateCommand())
    .addCommand(receiveCommand())
    .addCommand(relayCommand())
    .addCommand(saveCommand())
    .addCommand(restoreCommand())
    .addCommand(streamCommand())
    .addCommand(infoCommand())
    .addCommand(ctlCommand())
    .addCommand(demoCommand())
    .addCommand(lockdepCommand())
    .addCommand(labCommand());
}

/** Runs the command line and returns the exit code: 0 done, 1 failed, 2 wrong usage. */
export async function run(argv: readonly string[]): Promise<number> {
  const program = createProgram();
  for (const command of everyCommand(program)) {
    command.exitOverride().showHelpAfterError("(--help shows how to use it)");
  }
  try {
    await program.parseAsync(argv);
    return ExitCode.OK;
  } catch (error) {
    return explain(error);
  }
}

/** commander inherits these settings only for commands made by `.command()`. */
function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

function explain(error: unknown): number {
  if (error instanceof CommanderError) {
    // commander has printed it already; help and version arrive here too, with 0.
    return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
  }
  const style = Style.of(process.stderr);
  if (error instanceof Error && isExpected(error)) {
    process.stderr.write(`${style.red("error:")} ${error.message}\n`);
    return error instanceof UsageError ? ExitCode.USAGE : ExitCode.FAILURE;
  }
  process.stderr.write(
    `${style.red("internal error:")} ${error instanceof Error ? error.stack : String(error)}\n`,
  );
  return ExitCode.FAILURE;
}

/** Failures of the system, the device or the other side, which a message explains better than a stack. */
function isExpected(error: Error): boolean {
  return error instanceof CommandError || error.name === "VfioError" || error.name === "SyscallError";
}
