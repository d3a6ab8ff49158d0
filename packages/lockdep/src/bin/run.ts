import type { Command, CommanderError } from "commander";
import { CommandError, ExitCode } from "./errors.js";
import { Style } from "./style.js";

/**
 * Runs a command line and returns the exit code: 0 done, 1 failed, 2 wrong usage, or what the error says. What went wrong is a line on standard
 * error.
 * @param isExpected failures beside `CommandError` that their message explains better than a stack
 */
export async function runCommandLine(
  program: Command,
  argv: readonly string[],
  isExpected: (error: Error) => boolean = () => false,
): Promise<number> {
  for (const command of everyCommand(program))
    command.exitOverride().showHelpAfterError("(--help shows how to use it)");
  try {
    await program.parseAsync(argv);
    return ExitCode.OK;
  } catch (error) {
    return explain(error, isExpected);
  }
}

/** commander inherits these settings only for commands made by `.command()`. */
function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

function explain(error: unknown, isExpected: (error: Error) => boolean): number {
  if (isCommander(error)) {
    // It has been printed already; help and version arrive here too, with 0.
    return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
  }
  const style = Style.of(process.stderr);
  if (error instanceof CommandError || (error instanceof Error && isExpected(error))) {
    process.stderr.write(`${style.red("error:")} ${error.message}\n`);
    return error instanceof CommandError ? error.exitCode : ExitCode.FAILURE;
  }
  process.stderr.write(
    `${style.red("internal error:")} ${error instanceof Error ? error.stack : String(error)}\n`,
  );
  return ExitCode.FAILURE;
}

/** By its code, not by its class: the program's commander may be another copy than ours. */
function isCommander(error: unknown): error is CommanderError {
  return error instanceof Error && "code" in error && /^commander\./.test(String(error.code));
}
