import type { ProblemGraph } from "./graph.js";

const quote = (text: string): string => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

/** The picture as Graphviz reads it. */
export function toDot(graph: ProblemGraph): string {
  const lines = [
    "digraph lockdep {",
    `  label=${quote(graph.title)}; labelloc=b; fontname="Helvetica"; fontsize=10; rankdir=LR; nodesep=0.4; ranksep=1.6;`,
    '  node [fontname="Helvetica", fontsize=12, margin="0.25,0.1", style=filled, fillcolor="#f4f6fa", color="#51607a"];',
    '  edge [fontname="Helvetica", fontsize=10, color="#51607a"];',
    ...graph.nodes.map(
      ({ name, shape }) => `  ${quote(name)} [shape=${shape === "lock" ? "box" : "ellipse"}];`,
    ),
    ...graph.edges.map(({ from, to, label, culprit }) => {
      const text = quote(label.join("\n")).replaceAll("\n", "\\n");
      const red = culprit ? ', color="#c62828", fontcolor="#c62828", penwidth=2' : "";
      return `  ${quote(from)} -> ${quote(to)} [label=${text}${red}];`;
    }),
    "}",
  ];
  return `${lines.join("\n")}\n`;
}
