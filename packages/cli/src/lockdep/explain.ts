import { readFileSync } from "node:fs";
import {
  explainSplat,
  parseKernelLog,
  splatGraph,
  splatJson,
  symbolsIn,
  type ParseOptions,
} from "@vfiokit/lockdep/explain";
import { Command } from "commander";
import { CommandError } from "../errors.js";
import { symbolizer } from "./decode.js";
import { addPictureOptions, printPictures, type PictureOptions } from "./output.js";
import { err, out } from "../output.js";

interface Options extends PictureOptions {
  readonly decode?: string;
}

/** `vfiokit lockdep explain FILE|-`: lockdep's reports in a kernel log, in plain words. */
export function explainCommand(): Command {
  const command = new Command("explain")
    .description(
      "Finds lockdep's reports in a kernel log and says in plain words what is wrong, and what to change: also hung tasks, workqueue lockups, and sleeps where nothing may sleep.",
    )
    .argument("<file>", 'a kernel log, or "-" for standard input')
    .option(
      "--decode <vmlinux>",
      "show file and line of every place, from this kernel's debugging information",
    )
    .addHelpText("after", "\nExit code 1 if the log has no such report.");
  return addPictureOptions(command).action(explain);
}

async function explain(file: string, options: Options): Promise<void> {
  const log = read(file);
  const splats = parseKernelLog(log, decoding(log, options.decode));
  if (splats.length === 0) throw new CommandError(`${file}: no report of lockdep in it`);
  if (options.json) {
    out.json(splats.map(splatJson), 2);
    return;
  }
  const graphs = splats.flatMap((splat) => splatGraph(splat) ?? []);
  if (await printPictures(options, graphs)) return;
  out.text(splats.map(explainSplat).join("\n"));
}

function decoding(log: string, vmlinux: string | undefined): ParseOptions {
  if (vmlinux === undefined) return {};
  const symbolize = symbolizer(vmlinux, symbolsIn(log));
  if (symbolize) return { symbolize };
  err.line(
    "--decode needs nm and addr2line: install binutils (apt install binutils, dnf install binutils). Places stay as they are.",
  );
  return {};
}

function read(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CommandError((error as Error).message);
  }
}
