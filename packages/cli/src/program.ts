import { lockdepCommand, runCommandLine } from "@vfiokit/lockdep/bin";
import { Command } from "commander";
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
    description: "Moves a running device to another vfio-user server.",
    load: async () => (await import("./migrate/command.js")).migrateCommand(),
  },
  {
    name: "receive",
    description: "Receives devices that vfiokit migrate sends from other hosts.",
    load: async () => (await import("./receive/command.js")).receiveCommand(),
  },
  {
    name: "relay",
    description:
      "Keeps a client connected while its server is replaced. For clients that cannot migrate, such as QEMU.",
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
    name: "reset",
    description: "Resets a served device, or one of the kernel's VFIO.",
    load: async () => (await import("./reset/command.js")).resetCommand(),
  },
  {
    name: "list",
    description: "Lists PCI functions and mediated devices: their drivers, their IOMMU groups.",
    load: async () => (await import("./list/command.js")).listCommand(),
  },
  {
    name: "bind",
    description: "Gives a PCI function to vfio-pci.",
    load: async () => (await import("./bind/command.js")).bindCommand(),
  },
  {
    name: "unbind",
    description: "Gives a PCI function back to the driver that the kernel has for it.",
    load: async () => (await import("./bind/command.js")).unbindCommand(),
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
    load: lockdepCommand,
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

/** Runs the command line and returns the exit code: 0 done, 1 failed, 2 wrong usage, or what the command says. */
export async function run(argv: readonly string[]): Promise<number> {
  return runCommandLine(await createProgram(argv), argv, isExpected);
}

/** Failures of the system, the device or the other side. */
const isExpected = (error: Error): boolean => error.name === "VfioError" || error.name === "SyscallError";
