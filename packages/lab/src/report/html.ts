import { embeddedJson, escape } from "./escape.js";
import type { Invariant } from "../invariants.js";
import { describeOrder, graphSvg } from "./graph-svg.js";
import { matrixHtml, storyId } from "./matrix-html.js";
import type { ReportModel } from "./model.js";
import { page, type PageData } from "./page/page.js";
import { mostTracks, storyHtml, storySteps } from "./story-html.js";
import { stylesheet } from "./style.js";

type ShownDesign = ReportModel["designs"][number];

/** The report as one HTML file, which needs nothing else: no network, no other file, and no script to be read. */
export async function reportHtml(model: ReportModel): Promise<string> {
  const { report, designs, stories } = model;
  const style = stylesheet(mostTracks(stories));
  const script = `(${String(page)})();`;
  const data: PageData = Object.fromEntries(
    stories.map((story) => [storyId(story.design, story.invariant), storySteps(story)]),
  );
  const policy = [
    "default-src 'none'",
    `style-src '${await hash(style)}'`,
    `script-src '${await hash(script)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ];
  const names = designs.map(({ name }) => name).join(", ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escape(policy.join("; "))}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Reset designs: ${escape(names)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>What a reset does to a migration</h1>
<p>${count(report.executions, "execution")} of ${count(report.scenarios, "scenario")} under ${count(designs.length, "design")}, in ${seconds(report.time)}. ${explain(model)}</p>
</header>
<main>
<section aria-labelledby="verdicts">
<h2 id="verdicts" tabindex="-1">Verdicts</h2>
${matrixHtml(model)}
</section>
<section aria-labelledby="designs">
<h2 id="designs">Designs: orders of locks, and counterexamples</h2>
<p class="note">Each operation and each reset was done once, alone. An arc leads from a lock that is held to one that is taken under it: down on the right, up on the left. A cycle can hang.</p>
${designs.map((design) => designHtml(design, model)).join("\n")}
</section>
</main>
<script type="application/json" id="data">${embeddedJson(data)}</script>
<script>${script}</script>
</body>
</html>
`;
}

function explain({ report, bounds }: ReportModel): string {
  const cells = Object.values(report.matrix).flatMap((row) => Object.values(row));
  const exhausted = "Exhausted: every order of the tasks that can make a difference was run.";
  if (cells.every((cell) => cell.exhausted)) return exhausted;
  const set = [
    ...(bounds.executions === undefined ? [] : [`${count(bounds.executions, "execution")} of a scenario`]),
    ...(bounds.preemptions === undefined ? [] : [count(bounds.preemptions, "preemption")]),
  ];
  const why = set.length === 0 ? "the run was ended before" : `at most ${set.join(", ")}`;
  return `${exhausted} Bounded: ${why}, so some were not.`;
}

function designHtml({ name, title, graph }: ShownDesign, { stories, report }: ReportModel): string {
  const id = `design-${escape(name)}`;
  const mine = stories.filter(({ design }) => design === name);
  const unseen = Object.entries(report.matrix[name] ?? {})
    .filter(([, { verdict, counterexample }]) => verdict === "fail" && counterexample === undefined)
    .map(([invariant]) => {
      const finding = report.findings[name]?.[invariant as Invariant] ?? "";
      return `<p><span class="which">${invariant}</span> ${escape(finding)}, by several executions together: none of them shows it alone.</p>`;
    });
  const cycle = graph.cycle.length === 0 ? "No cycle." : `A cycle: ${graph.cycle.map(escape).join(" → ")}.`;
  const orders = graph.orders.map(
    (order) => `<li${order.inCycle ? ' class="cycle"' : ""}>${escape(describeOrder(order))}</li>`,
  );
  return `<section class="design" aria-labelledby="${id}">
<h3 id="${id}" tabindex="-1">${escape(name)}: ${escape(title)}</h3>
<figure>
${graphSvg(graph, `Orders of locks of ${name}. ${cycle}`, `graph-${name}`)}
<figcaption>
<p>${cycle}</p>
<p>${count(orders.length, "order")} of two locks, and who showed each first:</p>
<ul>${orders.join("")}</ul>
</figcaption>
</figure>
<h4>${mine.length + unseen.length === 0 ? "Nothing fails" : "What fails, and how"}</h4>
${[...mine.map(storyHtml), ...unseen].join("\n")}
</section>`;
}

function count(number: number, what: string): string {
  return `${number.toLocaleString("en-US")} ${what}${number === 1 ? "" : "s"}`;
}

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

/** As a Content-Security-Policy names an inline element. */
async function hash(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `sha256-${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}
