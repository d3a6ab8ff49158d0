import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type * as Lab from "@vfiokit/lab";
import { mutants, type Mutant } from "./mutants.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const source = (name: string): string => `${root}packages/${name}/src/index.ts`;

/** The laboratory on a core with one bug in it. */
async function bundle(mutant: Mutant | undefined, outfile: string): Promise<typeof Lab> {
  await build({
    entryPoints: [source("lab")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    alias: {
      "@vfiokit/lockdep/hooks": `${root}packages/lockdep/src/hooks/index.ts`,
      "@vfiokit/lockdep": source("lockdep"),
      "@vfiokit/core": source("core"),
      "@vfiokit/core/pci": `${root}packages/core/src/pci/index.ts`,
      "@vfiokit/core/migration": `${root}packages/core/src/migration/index.ts`,
      "@vfiokit/core/host": `${root}packages/core/src/host/index.ts`,
      "@vfiokit/core/lab": `${root}packages/core/src/lab/index.ts`,
      "@vfiokit/explore": source("explore"),
    },
    plugins: mutant ? [mutate(mutant)] : [],
  });
  return (await import(outfile)) as typeof Lab;
}

const mutate = ({ file, from, to }: Mutant): NonNullable<Parameters<typeof build>[0]["plugins"]>[number] => ({
  name: "mutate",
  setup(building) {
    building.onLoad({ filter: new RegExp(`${file.replaceAll(".", "\\.")}$`) }, () => {
      const text = readFileSync(root + file, "utf8");
      if (!text.includes(from)) return { errors: [{ text: `${file} has no longer: ${from}` }] };
      return { contents: text.replace(from, () => to), loader: "ts" };
    });
  },
});

async function failures({ runLab, designs, choose }: typeof Lab): Promise<string[]> {
  const { matrix } = await runLab({
    designs: designs.filter(({ name }) => name === "generation"),
    scenarios: choose("quick"),
    bounds: { executions: 3000 },
  });
  return Object.entries(matrix["generation"]!).flatMap(([name, cell]) =>
    cell.verdict === "fail" ? [name] : [],
  );
}

describe("a bug in the default design is found", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(`${tmpdir()}/mutants-`);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("and without one nothing is", async () => {
    expect(await failures(await bundle(undefined, `${folder}/none.mjs`))).toEqual([]);
  }, 120_000);

  it.each(mutants.map((mutant, i) => ({ ...mutant, i })))(
    "$name",
    async ({ i, ...mutant }) => {
      const found = await failures(await bundle(mutant, `${folder}/${i}.mjs`));
      expect(found).not.toEqual([]);
      expect(found).toContain(mutant.fails);
    },
    120_000,
  );
});
