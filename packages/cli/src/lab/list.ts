import { designs, invariantNames, invariants, subsets } from "@vfiokit/lab";
import { Command } from "commander";
import { out } from "../output.js";
import { table } from "../shared/tables.js";
import { chooseScenarios } from "./choice.js";

/** `vfiokit lab list`: designs, invariants and scenarios. */
export function listCommand(): Command {
  return new Command("list")
    .description("Lists the designs, the invariants, and the scenarios of a pattern.")
    .argument("[pattern]", "scenarios that fit, as for run")
    .action((pattern: string | undefined) => {
      const lines =
        pattern === undefined
          ? [
              "Designs:",
              ...table(designs.map(({ name, title }) => [`  ${name}`, title])),
              "",
              "Invariants:",
              ...table(invariantNames.map((name) => [`  ${name}`, invariants[name]])),
              "",
              "Scenarios:",
              ...table(
                Object.keys(subsets).map((name) => [`  ${name}`, String(chooseScenarios(name).length)]),
              ),
            ]
          : chooseScenarios(pattern).map(({ name }) => name);
      out.lines(lines);
    });
}
