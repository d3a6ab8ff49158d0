import { invariantNames, type Cell, type Matrix } from "@vfiokit/lab";
import { table } from "../shared/tables.js";
import type { Style } from "../style.js";

/** The verdicts: a row an invariant, a column a design. */
export function matrixTable(matrix: Matrix, style: Style): string[] {
  const names = Object.keys(matrix);
  const rows = table([
    ["", ...names],
    ...invariantNames.map((invariant) => [
      invariant,
      ...names.map((name) => cellText(matrix[name]![invariant])),
    ]),
  ]);
  return rows.map((row) =>
    row
      .replaceAll(/FAIL/g, style.red("FAIL"))
      .replaceAll(/\bpass\b/g, style.green("pass"))
      .replaceAll(/\bunknown\b/g, style.yellow("unknown")),
  );
}

/** "pass 1,234": executions; "pass 1,234+" where a bound has ended them. */
function cellText(cell: Cell | undefined): string {
  if (!cell) return "-";
  const executions = cell.executions.toLocaleString("en-US");
  const word = { pass: "pass", fail: "FAIL", unknown: "unknown" }[cell.verdict];
  return `${word} ${executions}${cell.exhausted ? "" : "+"}`;
}
