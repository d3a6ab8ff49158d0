/** Something that could not be done. The message is for the user and needs no stack. */
export class CommandError extends Error {
  override readonly name: string = "CommandError";

  /** What the command ends with. */
  readonly exitCode: number;

  /** @param options `exitCode`: 1, unless the command has more to say */
  constructor(message: string, options: ErrorOptions & { readonly exitCode?: number } = {}) {
    super(message, options);
    this.exitCode = options.exitCode ?? 1;
  }
}

/** The command line is wrong: exit code 2. */
export class UsageError extends CommandError {
  override readonly name = "UsageError";

  constructor(message: string, options: ErrorOptions = {}) {
    super(message, { ...options, exitCode: 2 });
  }
}

/** What a command ends with: it went well, it failed, its command line is wrong. */
export const ExitCode = { OK: 0, FAILURE: 1, USAGE: 2 } as const;
