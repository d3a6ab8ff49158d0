import type { Command, CommanderError } from "commander";
import { CommandError, ExitCode } from "./errors.js";
import { err, out } from "./output.js";

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
    command
      .exitOverride()
      .showHelpAfterError("(--help shows how to use it)")
      .configureOutput({ writeOut: (text) => out.text(text), writeErr: (text) => err.text(text) });
  // A file that has grown to its limit is an error of the write then, and no end without a word.
  process.on("SIGXFSZ", () => undefined);
  let code: number = ExitCode.OK;
  try {
    await program.parseAsync(argv);
  } catch (error) {
    code = explain(error, isExpected);
  }
  await out.flushed();
  return out.failure ? ExitCode.FAILURE : code;
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
  const { red } = err.style;
  if (
    error instanceof CommandError ||
    (error instanceof Error && (isExpected(error) || isSystemError(error)))
  ) {
    err.line(`${red("error:")} ${error.message}`);
    return error instanceof CommandError ? error.exitCode : ExitCode.FAILURE;
  }
  err.text(`${red("internal error:")} ${error instanceof Error ? error.stack : String(error)}\n`);
  return ExitCode.FAILURE;
}

/** ENOSPC, EACCES … as Node throws them. */
function isSystemError(error: Error): boolean {
  return "syscall" in error && typeof error.syscall === "string";
}

/** By its code, not by its class: the program's commander may be another copy than ours. */
function isCommander(error: unknown): error is CommanderError {
  return error instanceof Error && "code" in error && /^commander\./.test(String(error.code));
}
