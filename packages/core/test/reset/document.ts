import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { expect } from "vitest";

const root = new URL("../../../../", import.meta.url);

/**
 * Compares what the document has between `<!-- name -->` and `<!-- /name -->` with `text`.
 * With UPDATE_DOCS=1 in the environment it writes it there instead.
 */
export async function expectDocument(path: string, name: string, text: string): Promise<void> {
  const file = fileURLToPath(new URL(path, root));
  const before = readFileSync(file, "utf8");
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [before.indexOf(start), before.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${path} has no ${start} … ${end}`);
  const next = `${before.slice(0, from + start.length)}\n\n${text}\n\n${before.slice(to)}`;
  const after = await format(next, { ...(await resolveConfig(file)), filepath: file });
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(file, after);
  else expect(before, `${path} is out of date: run this test with UPDATE_DOCS=1`).toBe(after);
}
