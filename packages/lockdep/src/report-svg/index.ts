import { instance } from "@viz-js/viz";
import type { Problem } from "../problem.js";
import { toDot } from "../report/dot.js";
import { problemGraph, type ProblemGraph } from "../report/graph.js";

/** The problem as a picture, laid out by Graphviz: a whole SVG document. */
export function problemSvg(problem: Problem): Promise<string> {
  return graphSvg(problemGraph(problem));
}

/** The graph as a picture, laid out by Graphviz: a whole SVG document. */
export async function graphSvg(graph: ProblemGraph): Promise<string> {
  const graphviz = await instance();
  return graphviz.renderString(toDot(graph), { format: "svg" });
}
