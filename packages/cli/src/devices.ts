import { Option, type Command } from "commander";
import type { PciDeviceDefinition } from "@vfiokit/core";
import { serialCard } from "@vfiokit/devices";
import { chardevHelp, chardevSyntax, openChardev, parseChardev, type ChardevSpec } from "./chardev/index.js";
import type { Logger } from "./log.js";

/** A device that is ready to be served. */
export interface OpenedDevice {
  readonly definition: PciDeviceDefinition;
  /** What to tell the user beside how to attach it: where its other ends are. */
  readonly ends: Readonly<Record<string, string>>;
  /** The same for programs. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Standard output is taken: nothing else may be printed there. */
  readonly usesStdout: boolean;
}

/** A device that `vfiokit serve` knows. */
export interface ServedDevice {
  readonly name: string;
  readonly summary: string;
  /** Adds the device's own options to `vfiokit serve NAME`. */
  configure(command: Command): void;
  /** @throws CommandError when an end cannot be opened */
  open(options: Readonly<Record<string, unknown>>, log: Logger): Promise<OpenedDevice>;
}

const serial: ServedDevice = {
  name: "serial",
  summary: "a 16550A serial card (1b36:0002), as QEMU's pci-serial",
  configure(command) {
    command
      .addOption(
        new Option("--chardev <chardev>", `the other end of the line: ${chardevSyntax}`)
          .argParser(parseChardev)
          .default(parseChardev("pty"), "pty"),
      )
      .addHelpText("after", `\nCharacter devices:\n${chardevHelp}`);
  },
  async open(options, log) {
    const chardev = await openChardev(options["chardev"] as ChardevSpec, log);
    return {
      definition: serialCard({ backend: chardev.backend }),
      ends: { line: chardev.description },
      json: { chardev: { kind: (options["chardev"] as ChardevSpec).kind.name, path: chardev.path } },
      usesStdout: chardev.usesStdout,
    };
  },
};

/** Everything that `vfiokit serve` can serve: one line a device. */
export const devices: readonly ServedDevice[] = [serial];
