// Writes what each package exports, subpath by subpath, into api/: a change of a public type is a line of a diff there.
// `node scripts/api-report.js` writes; `--check` compares, and exits with 1 where they differ. Reads dist: build first.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const check = process.argv.includes("--check");
const printer = ts.createPrinter({ removeComments: true });
let stale = false;

const packages = readdirSync("packages").map((name) => {
  /** @type {unknown} */
  const read = JSON.parse(readFileSync(join("packages", name, "package.json"), "utf8"));
  const manifest = /** @type {{ name: string, exports?: Record<string, string | { types?: string }> }} */ (
    read
  );
  const subpaths = Object.entries(manifest.exports ?? {}).flatMap(([subpath, target]) =>
    typeof target === "object" && target.types
      ? [{ subpath, file: join("packages", name, target.types) }]
      : [],
  );
  return { name, title: manifest.name, subpaths };
});
// One program for all: the packages import each other.
const program = ts.createProgram(
  packages.flatMap(({ subpaths }) => subpaths.map(({ file }) => file)),
  { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, skipLibCheck: true, types: [] },
);
const checker = program.getTypeChecker();

mkdirSync("api", { recursive: true });
for (const { name, title, subpaths } of packages) {
  if (subpaths.length === 0) continue;
  const path = join("api", `${name}.api.md`);
  const text = report(title, subpaths);
  if (check) {
    if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
    console.error(`${path} is not what ${title} exports: npm run api, and look at the difference`);
    stale = true;
  } else {
    writeFileSync(path, text);
  }
}
process.exitCode = stale ? 1 : 0;

/**
 * @param {string} title
 * @param {{ subpath: string, file: string }[]} subpaths
 */
function report(title, subpaths) {
  const lines = [`# API of ${title}`, "", "Written by `npm run api`. Do not edit.", ""];
  for (const { subpath, file } of subpaths) {
    const source = program.getSourceFile(file);
    if (!source) throw new Error(`${file}: not there; npm run build`);
    const module = checker.getSymbolAtLocation(source);
    const symbols = module ? checker.getExportsOfModule(module) : [];
    symbols.sort((a, b) => (a.name < b.name ? -1 : 1));
    lines.push(`## ${title}${subpath.slice(1)}`, "", `${symbols.length} names.`, "", "```ts");
    for (const symbol of symbols) lines.push(...declarations(symbol));
    lines.push("```", "");
  }
  return lines.join("\n");
}

/** @param {ts.Symbol} symbol */
function declarations(symbol) {
  const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const texts = (target.declarations ?? []).map((declaration) => {
    if (ts.isSourceFile(declaration)) return `namespace ${symbol.name}`;
    const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
    const text = printer
      .printNode(ts.EmitHint.Unspecified, node, declaration.getSourceFile())
      .replaceAll(/^ {4}(?:private|#).*\n/gm, "")
      .replaceAll(/^(?:export )?(?:declare )?/gm, "");
    return target.name === symbol.name ? text : `// as ${symbol.name}\n${text}`;
  });
  return [...new Set(texts)];
}
