import { toDot, toMermaid, type ProblemGraph } from "@vfiokit/lockdep";
import { graphSvg } from "@vfiokit/lockdep/report-svg";
import { Option, type Command } from "commander";
import { CommandError } from "../errors.js";
import { out } from "../output.js";

/** How a report can be printed instead of as text: at most one of these. */
export interface PictureOptions {
  readonly svg?: true;
  readonly dot?: true;
  readonly mermaid?: true;
  readonly json?: true;
}

export function addPictureOptions(command: Command): Command {
  const others = ["svg", "dot", "mermaid", "json", "promela"];
  const option = (name: string, description: string): Option =>
    new Option(`--${name}`, description).conflicts(others.filter((other) => other !== name));
  return command
    .addOption(option("svg", "print a picture of the first problem as SVG"))
    .addOption(option("dot", "print pictures of the problems for Graphviz"))
    .addOption(option("mermaid", "print pictures of the problems for Mermaid"))
    .addOption(option("json", "print everything as JSON"));
}

/** Prints pictures, if they are asked for. */
export async function printPictures(
  options: PictureOptions,
  graphs: readonly ProblemGraph[],
): Promise<boolean> {
  if (!options.svg && !options.dot && !options.mermaid) return false;
  if (graphs.length === 0) throw new CommandError("there is no problem to draw");
  if (options.svg) out.text(await graphSvg(graphs[0]!));
  else out.text(graphs.map(options.dot ? toDot : toMermaid).join("\n"));
  return true;
}
