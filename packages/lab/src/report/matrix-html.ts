import { invariantNames, invariants, type Invariant } from "../invariants.js";
import type { Cell } from "../run.js";
import { escape } from "./escape.js";
import type { ReportModel } from "./model.js";

/** The id of the element that tells how a design fails. */
export function storyId(design: string, invariant: Invariant): string {
  return `counterexample-${design}-${invariant}`;
}

/** The verdicts: a row an invariant, a column a design. A failing one leads to its counterexample. */
export function matrixHtml({ designs, report }: ReportModel): string {
  const columns = designs.map(
    ({ name }) => `<th scope="col"><a href="#design-${escape(name)}">${escape(name)}</a></th>`,
  );
  const rows = invariantNames.map((invariant) => {
    const cells = designs.map(({ name }) => cellHtml(report.matrix[name]?.[invariant], name, invariant));
    return `<tr><th scope="row">${invariant}<small>${escape(invariants[invariant])}</small></th>${cells.join("")}</tr>`;
  });
  return `<div class="scroll" role="region" aria-labelledby="verdicts-caption" tabindex="0">
<table class="matrix">
<caption id="verdicts-caption">What each design keeps and breaks</caption>
<thead><tr><th scope="col">invariant</th>${columns.join("")}</tr></thead>
<tbody>
${rows.join("\n")}
</tbody>
</table>
</div>`;
}

function cellHtml(cell: Cell | undefined, design: string, invariant: Invariant): string {
  if (!cell) return '<td class="none">not looked at</td>';
  const { verdict, executions, exhausted, counterexample } = cell;
  const counted = `<small>${executions.toLocaleString("en-US")} <br>${exhausted ? "exhausted" : "bounded"}</small>`;
  if (verdict !== "fail")
    return `<td class="${verdict}"><span class="verdict">${verdict}</span>${counted}</td>`;
  const fails = '<span class="verdict">FAIL</span>';
  if (counterexample === undefined) return `<td class="fail">${fails}${counted}</td>`;
  const label = `${design} fails ${invariant}: show the counterexample`;
  return `<td class="fail"><a href="#${storyId(design, invariant)}" aria-label="${escape(label)}">${fails}</a>${counted}</td>`;
}
