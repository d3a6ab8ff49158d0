import { problemGraph, toJson } from "../index.js";
import { checkScenario, formatFinding, toPromela, type ScenarioResult } from "../protocol/index.js";
import { CommandError, UsageError } from "./errors.js";
import { out } from "./output.js";
import { loadScenarios } from "./load.js";
import { printPictures, type PictureOptions } from "./pictures.js";

interface Options extends PictureOptions {
  readonly promela?: true;
  readonly scenario?: string;
}

/** What `lockdep check` does. */
export async function check(files: readonly string[], options: Options): Promise<void> {
  const chosen = loadScenarios(files, options.scenario);
  if (options.promela) {
    if (chosen.length > 1)
      throw new UsageError(
        `a model has one scenario, and here are ${chosen.length}: choose one by --scenario`,
      );
    out.text(toPromela(chosen[0]!.scenario));
    return;
  }
  const results = chosen.map(({ file, scenario }) => ({ file, result: checkScenario(scenario) }));
  const problems = results.flatMap(({ result }) => result.findings.map((finding) => finding.problem));
  if (options.json) out.json(results.map(resultJson), 2);
  else if (!(await printPictures(options, problems.map(problemGraph)))) printText(results);
  const failed = results.filter(({ result }) => !result.ok).length;
  if (failed > 0)
    throw new CommandError(`${failed} of ${results.length} scenarios: not the expected verdict`);
}

function printText(results: readonly { file: string; result: ScenarioResult }[]): void {
  const { style } = out;
  for (const { file, result } of results) {
    const { scenario, verdict, ok, findings } = result;
    const mark = ok ? style.green("ok") : style.red("FAILED");
    const expected = ok ? "" : `, expected ${scenario.expect ?? "clean"}`;
    out.line(`${mark} ${file}: ${scenario.name}: ${verdict}${expected}`);
    for (const finding of findings) out.text(`${formatFinding(finding)}\n`);
  }
}

function resultJson({ file, result }: { file: string; result: ScenarioResult }): object {
  const { scenario, verdict, ok, findings } = result;
  return {
    file,
    scenario: scenario.name,
    verdict,
    expected: scenario.expect ?? "clean",
    ok,
    problems: findings.map(({ problem, schedule, harmless }) =>
      toJson(problem, harmless ? "none" : schedule),
    ),
  };
}
