import { replayCounterexample } from "@vfiokit/lab";
import { Command } from "commander";
import { CommandError, UsageError } from "../errors.js";
import { out } from "../output.js";
import { lines } from "./lines.js";

/** `vfiokit lab replay COUNTEREXAMPLE`: what happens, line by line. */
export function replayCommand(): Command {
  return new Command("replay")
    .description("Runs one counterexample again, and tells what happens in it.")
    .argument("<counterexample>", "as printed by run: DESIGN/SCENARIO@SCHEDULE")
    .option("--json", "print everything as JSON")
    .addHelpText("after", "\nExit code 0 if it shows the violation again, 1 if it violates nothing.")
    .action(replay);
}

async function replay(counterexample: string, options: { readonly json?: true }): Promise<void> {
  const replayed = await replayCounterexample(counterexample).catch((error: unknown) => {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  });
  if (options.json) out.json(replayed, 2);
  else out.lines(lines(replayed.lines, out.style));
  if (replayed.violations.length === 0) throw new CommandError("nothing was violated");
}
