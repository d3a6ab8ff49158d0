import { InvalidArgumentError, Option, type Command } from "commander";
import type { PciDeviceDefinition } from "@vfiokit/core";
import type { Scratch } from "@vfiokit/devices";
import { chardevHelp, chardevSyntax, openChardev, parseChardev, type ChardevSpec } from "./chardev/index.js";
import type { Logger } from "./log.js";
import { parseBytes } from "./shared/units.js";

/** A device that is ready to be served. */
export interface OpenedDevice {
  /** One for each function: several are one card, and are reset together by a hot reset. */
  readonly definitions: readonly PciDeviceDefinition[];
  /** What to tell the user beside how to attach it: where its other ends are. */
  readonly ends: Readonly<Record<string, string>>;
  /** The same for programs. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Standard output is taken: nothing else may be printed there. */
  readonly usesStdout: boolean;
}

/** A device that `vfiokit serve` knows. What it is made of is loaded when it is opened: help needs none of it. */
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
    const { serialCard } = await import("@vfiokit/devices");
    const chardev = await openChardev(options["chardev"] as ChardevSpec, log);
    return {
      definitions: [serialCard({ backend: chardev.backend })],
      ends: { line: chardev.description },
      json: { chardev: { kind: (options["chardev"] as ChardevSpec).kind.name, path: chardev.path } },
      usesStdout: chardev.usesStdout,
    };
  },
};

const counter: ServedDevice = {
  name: "counter",
  summary: "a card of several functions (1b36:0102), each a counter that interrupts",
  configure(command) {
    command
      .addOption(
        new Option("--functions <count>", "functions of the card, 1 to 8")
          .argParser(parseFunctions)
          .default(4),
      )
      .addOption(
        new Option("--scratch <kind>", "memory in BAR 2 that clients can map: whole, or in parts").choices([
          "whole",
          "sparse",
        ]),
      )
      .addOption(new Option("--msix", "MSI-X beside MSI, its table in BAR 4"))
      .addHelpText("after", "\nSeveral functions listen at PATH.0, PATH.1 and so on.");
  },
  async open(options) {
    const { counterCard } = await import("@vfiokit/devices");
    const functions = options["functions"] as number;
    const scratch = options["scratch"] as Scratch | undefined;
    const msix = options["msix"] as boolean | undefined;
    return {
      definitions: counterCard({ functions, ...(scratch && { scratch }), ...(msix && { msix }) }),
      ends: {},
      json: {},
      usesStdout: false,
    };
  },
};

function parseFunctions(text: string): number {
  if (!/^[1-8]$/.test(text)) throw new InvalidArgumentError("must be 1 to 8.");
  return Number(text);
}

const memory: ServedDevice = {
  name: "memory-card",
  summary: "a card with memory of its own (1b36:0103) that it can write by itself: something to migrate",
  configure(command) {
    command
      .addOption(
        new Option("--size <bytes>", "its memory, in K, M or G: a multiple of 4K, up to 4G")
          .argParser((text: string) => parseBytes(text, 0))
          .default(64 * 1024 ** 2, "64M"),
      )
      .addOption(
        new Option("--dirty-rate <bytes>", "what it writes by itself in a second, in K, M or G")
          .argParser((text: string) => parseBytes(text, 0))
          .default(0),
      );
  },
  async open(options) {
    const { memoryCard } = await import("@vfiokit/devices");
    const size = options["size"] as number;
    const dirtyRate = options["dirtyRate"] as number;
    return {
      definitions: [memoryCard({ size, dirtyRate })],
      ends: {},
      json: {},
      usesStdout: false,
    };
  },
};

/** Everything that `vfiokit serve` can serve: one line a device. */
export const devices: readonly ServedDevice[] = [serial, counter, memory];
