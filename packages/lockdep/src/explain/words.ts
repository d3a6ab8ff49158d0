import type { ProblemGraph } from "../report/graph.js";
import { sortOf } from "./sorts/index.js";
import type { Splat, SplatJson } from "./splat.js";

/** A splat in plain words: what is wrong, who did what, and what to do about it. */
export function explainSplat(splat: Splat): string {
  const kernel = splat.kernel === "" ? "" : ` (${splat.kernel})`;
  const lines = [`line ${splat.line}: ${splat.title}${kernel}`, ""];
  if (splat.again.length > 0)
    lines.push(
      `The same report again: line${splat.again.length > 1 ? "s" : ""} ${splat.again.join(", ")}.`,
      "",
    );
  lines.push(...explanation(splat));
  if (splat.notes.length > 0) lines.push("", ...splat.notes.map((note) => `Note: ${note}`));
  return `${lines.join("\n")}\n`;
}

function explanation({ status, missing, problem }: Splat): readonly string[] {
  if (problem) return sortOf(problem).words(problem);
  if (status === "unsupported")
    return [`Reports of this sort are not explained here. What it is about: ${missing}.`];
  if (status === "mixed") return [`Not explained, since it would be untrue: ${missing}.`];
  return [`This report is torn: ${missing}.`];
}

/** The picture of a splat, as the validator's own reports have them. */
export function splatGraph({ problem }: Splat): ProblemGraph | undefined {
  return problem && sortOf(problem).graph(problem);
}

/** A splat with its explanation and its picture, for programs. */
export function splatJson(splat: Splat): SplatJson {
  const { problem } = splat;
  return {
    ...splat,
    why: explanation(splat).join("\n"),
    ...(problem ? sortOf(problem).more?.(problem) : {}),
    graph: splatGraph(splat),
  };
}
