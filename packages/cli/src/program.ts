import { Command, CommanderError } from "commander";
import { CommandError, ExitCode, UsageError } from "./errors.js";
import { err, out } from "./output.js";
import { version } from "./version.js";

interface CommandEntry {
  readonly name: string;
  readonly description: string;
  /** Imports what the command needs: `vfiokit --help` and `--version` need none of it. */
  readonly load: () => Promise<Command>;
}

const commands: readonly CommandEntry[] = [
  {
    name: "serve",
    description: "Serves a device to vfio-user clients such as QEMU.",
    load: async () => (await import("./serve/command.js")).serveCommand(),
  },
  {
    name: "migrate",
    description: "Live-migrates a device to another vfio-user server.",
    load: async () => (await import("./migrate/command.js")).migrateCommand(),
  },
  {
    name: "receive",
    description: "Receives devices that vfiokit migrate sends from other hosts.",
    load: async () => (await import("./receive/command.js")).receiveCommand(),
  },
  {
    name: "relay",
    description: "Proxies a client that cannot migrate (QEMU), so that its server can be replaced.",
    load: async () => (await import("./relay/command.js")).relayCommand(),
  },
  {
    name: "save",
    description: "Saves a device's state to a file. The device is stopped while it is saved.",
    load: async () => (await import("./save/command.js")).saveCommand(),
  },
  {
    name: "restore",
    description: "Loads a saved state into a device. A state that is refused changes nothing.",
    load: async () => (await import("./restore/command.js")).restoreCommand(),
  },
  {
    name: "stream",
    description: "Describes and verifies a migration stream. Exits with 1 if it is damaged.",
    load: async () => (await import("./stream/command.js")).streamCommand(),
  },
  {
    name: "info",
    description: "Shows a served device, as lspci -vv shows a PCI function.",
    load: async () => (await import("./info/command.js")).infoCommand(),
  },
  {
    name: "ctl",
    description: "Administers a served device or a relay.",
    load: async () => (await import("./ctl/command.js")).ctlCommand(),
  },
  {
    name: "demo",
    description:
      "Uses, interrupts, resets and migrates a serial card written in TypeScript, and shows why resets are safe.",
    load: async () => (await import("./demo/command.js")).demoCommand(),
  },
  {
    name: "lockdep",
    description: "Checks lock protocols, and explains lockdep reports in kernel logs.",
    load: async () => (await import("./lockdep/index.js")).lockdepCommand(),
  },
  {
    name: "lab",
    description: "Compares designs of a reset during a migration under every interleaving that matters.",
    load: async () => (await import("./lab/index.js")).labCommand(),
  },
];

/** Only the command that is asked for is loaded; of the others, help shows the name and what they do. */
async function createProgram(argv: readonly string[]): Promise<Command> {
  const program = new Command("vfiokit")
    .description("Builds, serves, migrates and proves PCI devices.")
    .version(version);
  const words = argv.slice(2).filter((word) => !word.startsWith("-"));
  const asked = words[0] === "help" ? words[1] : words[0];
  for (const { name, description, load } of commands) {
    const command = name === asked ? await load() : new Command(name);
    program.addCommand(command.description(description));
  }
  return program;
}

/** Runs the command line and returns the exit code: 0 done, 1 failed, 2 wrong usage. */
export async function run(argv: readonly string[]): Promise<number> {
  const program = await createProgram(argv);
  for (const command of everyCommand(program)) {
    command
      .exitOverride()
      .showHelpAfterError("(--help shows how to use it)")
      .configureOutput({ writeOut: (text) => out.text(text), writeErr: (text) => err.text(text) });
  }
  // A file that has grown to its limit is an error of the write then, and no end without a word.
  process.on("SIGXFSZ", () => undefined);
  let code: number = ExitCode.OK;
  try {
    await program.parseAsync(argv);
  } catch (error) {
    code = explain(error);
  }
  await out.flushed();
  return out.failure ? ExitCode.FAILURE : code;
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
  const { red } = err.style;
  if (error instanceof Error && isExpected(error)) {
    err.line(`${red("error:")} ${error.message}`);
    return error instanceof UsageError ? ExitCode.USAGE : ExitCode.FAILURE;
  }
  err.text(`${red("internal error:")} ${error instanceof Error ? error.stack : String(error)}\n`);
  return ExitCode.FAILURE;
}

/** Failures of the system, the device or the other side, which a message explains better than a stack. */
function isExpected(error: Error): boolean {
  return (
    error instanceof CommandError ||
    error.name === "VfioError" ||
    error.name === "SyscallError" ||
    isSystemError(error)
  );
}

/** ENOSPC, EACCES … as Node throws them. */
function isSystemError(error: Error): boolean {
  return "syscall" in error && typeof error.syscall === "string";
}
