import { readFileSync } from "node:fs";
import ts from "typescript";
import { expect, it, vi } from "vitest";
import * as exploration from "@vfiokit/explore";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const block = (language: string): string => new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(readme)![1]!;

it("the README's program prints what the README says", async () => {
  const { outputText } = ts.transpileModule(block("ts"), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const names = Object.keys(exploration);
  const code = outputText.replace(/^import .*$/m, "");
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- it is the README's
  const program = new Function(...names, `return (async () => {${code}\n})()`) as (
    ...values: unknown[]
  ) => Promise<void>;
  const log = vi.spyOn(console, "log").mockReturnValue();
  try {
    await program(...Object.values(exploration));
    expect(log.mock.calls.flat().join("\n")).toBe(block("text").trimEnd());
  } finally {
    log.mockRestore();
  }
});

it("the README's example of exploreParts runs, with several jobs in one process", async () => {
  const [, code] = /```ts\n(import \{ exploreParts[^]*?)```/.exec(readme)!;
  const { outputText } = ts.transpileModule(code!, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const names = Object.keys(exploration);
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- it is the README's
  const program = new Function(
    ...names,
    `return (async () => {${outputText.replace(/^import .*$/m, "")}\nreturn report; })()`,
  ) as (...values: unknown[]) => Promise<exploration.ExploreReport>;
  const report = await program(...Object.values(exploration));
  expect(report).toMatchObject({ verdict: "proved", exhausted: true });
  expect(report.executions).toBeGreaterThan(10);
});
