import { toDot, toMermaid, type ProblemGraph } from "../index.js";
import { CommandError } from "./errors.js";
import { out } from "./output.js";

/** How a report can be printed instead of as text: at most one of these. */
export interface PictureOptions {
  readonly svg?: true;
  readonly dot?: true;
  readonly mermaid?: true;
  readonly json?: true;
}

/** Prints pictures, if they are asked for. */
export async function printPictures(
  options: PictureOptions,
  graphs: readonly ProblemGraph[],
): Promise<boolean> {
  if (!options.svg && !options.dot && !options.mermaid) return false;
  if (graphs.length === 0) throw new CommandError("there is no problem to draw");
  if (options.svg) out.text(await svg(graphs[0]!));
  else out.text(graphs.map(options.dot ? toDot : toMermaid).join("\n"));
  return true;
}

/** Graphviz is an optional peer: three megabytes, for this option alone. */
async function svg(graph: ProblemGraph): Promise<string> {
  try {
    return await (await import("../report-svg/index.js")).graphSvg(graph);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND")
      throw new CommandError(
        "--svg needs Graphviz: npm install @viz-js/viz (or --dot, and draw it yourself)",
        {
          cause: error,
        },
      );
    throw error;
  }
}
