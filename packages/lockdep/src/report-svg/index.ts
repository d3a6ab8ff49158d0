import { instance } from "@viz-js/viz";
import type { Problem } from "../problem.js";
import { toDot } from "../report/dot.js";
import { problemGraph } from "../report/graph.js";

/** The problem as a picture, laid out by Graphviz: a whole SVG document. */
export async function problemSvg(problem: Problem): Promise<string> {
  const graphviz = await instance();
  return graphviz.renderString(toDot(problemGraph(problem)), { format: "svg" });
}
