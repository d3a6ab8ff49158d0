// Runs the laboratory's whole catalogue, which takes a quarter of an hour of one processor, and writes the verdicts into docs/lab.md.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { choose, designs, invariantNames, runLab } from "@vfiokit/lab";

const file = fileURLToPath(new URL("../docs/lab.md", import.meta.url));
const [START, END] = ["<!-- matrix -->", "<!-- /matrix -->"];

const report = await runLab({
  designs,
  scenarios: choose("all"),
  onProgress: ({ done, total, executions, design }) => {
    if (done % 50 === 0)
      console.error(`${done} of ${total} scenarios, ${executions} executions, now ${design}`);
  },
});
const page = readFileSync(file, "utf8");
const [from, to] = [page.indexOf(START), page.indexOf(END)];
if (from < 0 || to < from) throw new Error(`docs/lab.md has no ${START} … ${END}`);
const names = designs.map(({ name }) => name);
/** @param {string} design @param {import("@vfiokit/lab").Invariant} invariant */
const cell = (design, invariant) => report.matrix[design]?.[invariant];
const rows = invariantNames.map((invariant) =>
  [
    `\`${invariant}\``,
    ...names.map((name) => {
      const found = cell(name, invariant);
      if (!found) return "-";
      const verdict = found.verdict === "pass" ? "pass" : `**${found.verdict.toUpperCase()}**`;
      return `${verdict} ${found.executions}${found.exhausted ? "" : "+"}`;
    }),
  ].join(" | "),
);
const counterexamples = names.flatMap((name) =>
  invariantNames.flatMap((invariant) => {
    const counterexample = cell(name, invariant)?.counterexample;
    return counterexample === undefined ? [] : [`| \`${name}\` | \`${invariant}\` | \`${counterexample}\` |`];
  }),
);
const text = `${START}

| | ${names.map((name) => `\`${name}\``).join(" | ")} |
| --- ${names.map(() => "| --- ").join("")}|
${rows.map((row) => `| ${row} |`).join("\n")}

${report.executions} executions of ${report.scenarios} scenarios under ${names.length} designs.

| design | fails | counterexample |
| --- | --- | --- |
${counterexamples.join("\n")}

`;
const next = await format(page.slice(0, from) + text + page.slice(to), {
  ...(await resolveConfig(file)),
  filepath: file,
});
writeFileSync(file, next);
