import { readFileSync } from "node:fs";
import { toJson } from "@vfiokit/lockdep";
import { explainSplat, parseKernelLog, splatGraph, type Splat } from "@vfiokit/lockdep/explain";
import { Command } from "commander";
import { CommandError } from "../errors.js";
import { addPictureOptions, printPictures, type PictureOptions } from "./output.js";

/** `vfiokit lockdep explain FILE|-`: lockdep's reports in a kernel log, in plain words. */
export function explainCommand(): Command {
  const command = new Command("explain")
    .description(
      "Finds lockdep's reports in a kernel log and says in plain words what is wrong, and what to change.",
    )
    .argument("<file>", 'a kernel log, or "-" for standard input')
    .addHelpText("after", "\nExit code 1 if the log has no such report.");
  return addPictureOptions(command).action(explain);
}

async function explain(file: string, options: PictureOptions): Promise<void> {
  const splats = parseKernelLog(read(file));
  if (splats.length === 0) throw new CommandError(`${file}: no report of lockdep in it`);
  if (options.json) {
    process.stdout.write(`${JSON.stringify(splats.map(splatJson), null, 2)}\n`);
    return;
  }
  const graphs = splats.flatMap((splat) => splatGraph(splat) ?? []);
  if (await printPictures(options, graphs)) return;
  process.stdout.write(splats.map(explainSplat).join("\n"));
}

function read(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CommandError((error as Error).message);
  }
}

function splatJson(splat: Splat): object {
  const { problem, ...rest } = splat;
  if (!problem || problem.kind === "inconsistent-state") return { ...rest, problem };
  return { ...rest, ...toJson(problem) };
}
