import { replayWitness } from "@vfiokit/lab";
import { Command } from "commander";
import { CommandError, UsageError } from "../errors.js";
import { Style } from "../style.js";
import { lines } from "./lines.js";

/** `vfiokit lab replay WITNESS`: what happens, line by line. */
export function replayCommand(): Command {
  return new Command("replay")
    .description("Runs one witness again, and tells what happens in it.")
    .argument("<witness>", "as printed by run: DESIGN/SCENARIO@SCHEDULE")
    .option("--json", "print everything as JSON")
    .addHelpText("after", "\nExit code 1 if it violates nothing.")
    .action(replay);
}

async function replay(witness: string, options: { readonly json?: true }): Promise<void> {
  const replayed = await replayWitness(witness).catch((error: unknown) => {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  });
  if (options.json) process.stdout.write(`${JSON.stringify(replayed, null, 2)}\n`);
  else process.stdout.write(`${lines(replayed.lines, Style.of(process.stdout)).join("\n")}\n`);
  if (replayed.violations.length === 0) throw new CommandError("nothing was violated");
}
