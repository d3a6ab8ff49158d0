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

it("the README's example of x.watch finds a seat that is sold twice, in a class that is not changed", async () => {
  const [, code] = /```js\n(const shop = x\.watch[^]*?)```/.exec(readme)!;
  class Shop {
    readonly stock = new Map([["seat", 1]]);
    readonly sold: string[] = [];
    async buy(what: string, pay: () => Promise<void>): Promise<void> {
      const left = this.stock.get(what) ?? 0;
      if (left === 0) return;
      await pay();
      this.stock.set(what, left - 1);
      this.sold.push(what);
    }
  }
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- it is the README's
  const program = new Function("x", "Shop", `${code!}\nreturn shop;`) as (
    x: exploration.Exploration,
    shop: typeof Shop,
  ) => Shop;
  const report = await exploration.explore(
    (x) => {
      const shop = program(x, Shop);
      x.finally(() => {
        if (shop.sold.length !== 1) throw new Error(`sold ${shop.sold.length} of 1`);
      });
    },
    { plainFields: "none" },
  );
  expect(report.failures.map(({ message }) => message)).toEqual(["sold 2 of 1"]);
});
