/** Something that could not be done: exit code 1. The message is for the user and needs no stack. */
export class CommandError extends Error {
  override readonly name: string = "CommandError";
}

/** The command line is wrong: exit code 2. */
export class UsageError extends CommandError {
  override readonly name = "UsageError";
}

/** What a command ends with: it went well, it failed, its command line is wrong. */
export const ExitCode = { OK: 0, FAILURE: 1, USAGE: 2 } as const;
