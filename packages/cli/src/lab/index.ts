import { Command } from "commander";
import { checkCommand } from "./check.js";
import { listCommand } from "./list.js";
import { replayCommand } from "./replay.js";
import { runCommand } from "./run.js";
import { workerCommand } from "./worker.js";

/** `vfiokit lab`: what a reset does to a migration, by five designs, in every order of events that matters. */
export function labCommand(): Command {
  return new Command("lab")
    .addCommand(runCommand())
    .addCommand(workerCommand())
    .addCommand(replayCommand())
    .addCommand(listCommand())
    .addCommand(checkCommand());
}
