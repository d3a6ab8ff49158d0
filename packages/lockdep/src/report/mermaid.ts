import type { ProblemGraph } from "./graph.js";

/** Mermaid has no escapes but HTML's, and takes a bare "#" or quote for syntax. */
const quote = (text: string): string =>
  `"${text.replaceAll("#", "#35;").replaceAll('"', "#quot;").replaceAll("<", "#lt;").replaceAll(">", "#gt;")}"`;

/** The picture as Mermaid reads it: GitHub and most wikis show it in place. */
export function toMermaid(graph: ProblemGraph): string {
  const ids = new Map(graph.nodes.map(({ name }, i) => [name, `n${i}`]));
  const lines = [
    "flowchart LR",
    ...graph.nodes.map(({ name, shape }) =>
      shape === "lock" ? `  ${ids.get(name)!}[${quote(name)}]` : `  ${ids.get(name)!}([${quote(name)}])`,
    ),
    ...graph.edges.map(
      ({ from, to, label }) =>
        `  ${ids.get(from)!} -->|${label.map(quote).join("<br>").replaceAll('"<br>"', "<br>")}| ${ids.get(to)!}`,
    ),
    ...graph.edges.flatMap(({ culprit }, i) =>
      culprit ? [`  linkStyle ${i} stroke:#c62828,stroke-width:2px`] : [],
    ),
  ];
  return `${lines.join("\n")}\n`;
}
