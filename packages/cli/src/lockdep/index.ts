import { Command } from "commander";
import { checkCommand } from "./check.js";
import { explainCommand } from "./explain.js";

/** `vfiokit lockdep`: deadlocks found before they happen, and kernel reports explained. */
export function lockdepCommand(): Command {
  return new Command("lockdep").addCommand(checkCommand()).addCommand(explainCommand());
}
