import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import ts from "typescript";
import { root } from "./markdown.js";

/** One `import`, `export … from` or `import()` of a source file. */
export interface Import {
  /** "packages/core/src/dma/access.ts" */
  readonly from: string;
  /** A file of the workspace; undefined: Node's, or somebody else's package. */
  readonly to: string | undefined;
  /** "../errno.js", "@vfiokit/core/pci" */
  readonly specifier: string;
  /** What is left of it when it runs: neither `import type`, nor an import of nothing but types. */
  readonly value: boolean;
  /** When the file is loaded, and not later, as `import()`. */
  readonly eager: boolean;
}

/** "@vfiokit/core": "packages/core" */
export const folderOf = new Map(
  readdirSync(`${root}/packages`).map((name) => {
    const manifest = readFileSync(`${root}/packages/${name}/package.json`, "utf8");
    return [(JSON.parse(manifest) as { name: string }).name, `packages/${name}`];
  }),
);

const files = [...folderOf.values()].flatMap((folder) =>
  readdirSync(`${root}/${folder}/src`, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/src/${name}`),
);
const known = new Set(files);

/** Every import of the packages' sources. */
export const imports: readonly Import[] = files.flatMap((from) => {
  const text = readFileSync(`${root}/${from}`, "utf8");
  const source = ts.createSourceFile(from, text, ts.ScriptTarget.ESNext, true);
  const found: Import[] = [];
  const add = (specifier: ts.Expression, value: boolean, eager: boolean) => {
    if (!ts.isStringLiteral(specifier)) return;
    found.push({ from, to: resolve(from, specifier.text), specifier: specifier.text, value, eager });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isValueImport(node), true);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier)
      add(node.moduleSpecifier, isValueExport(node), true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0]!, true, false);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
});

function isValueImport({ importClause }: ts.ImportDeclaration): boolean {
  if (!importClause) return true;
  if (importClause.phaseModifier === ts.SyntaxKind.TypeKeyword) return false;
  const { name, namedBindings } = importClause;
  if (name || !namedBindings || ts.isNamespaceImport(namedBindings)) return true;
  return namedBindings.elements.some((element) => !element.isTypeOnly);
}

function isValueExport({ isTypeOnly, exportClause }: ts.ExportDeclaration): boolean {
  if (isTypeOnly) return false;
  if (!exportClause || !ts.isNamedExports(exportClause)) return true;
  return exportClause.elements.some((element) => !element.isTypeOnly);
}

/** The file that a specifier names. @throws Error: there is none */
function resolve(from: string, specifier: string): string | undefined {
  const file = specifier.startsWith(".")
    ? normalize(join(dirname(from), specifier)).replace(/\.js$/, ".ts")
    : entryOf(specifier);
  if (file === undefined || known.has(file)) return file;
  if (file.endsWith(".json")) return undefined;
  throw new Error(`${from}: "${specifier}" is no file of the packages`);
}

/** "@vfiokit/core/pci" is packages/core/src/pci/index.ts. */
function entryOf(specifier: string): string | undefined {
  for (const [name, folder] of folderOf) {
    if (specifier === name) return `${folder}/src/index.ts`;
    if (specifier.startsWith(`${name}/`)) return `${folder}/src${specifier.slice(name.length)}/index.ts`;
  }
  return undefined;
}

/** The shortest way of edges back to where it began, for each node that has one, the same ring once. */
export function cycles(edges: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const rings = new Map<string, string>();
  for (const start of edges.keys()) {
    const before = new Map<string, string>();
    const queue = [start];
    for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
      for (const next of edges.get(node) ?? []) {
        if (next === start) {
          const ring = [node];
          for (let at = node; at !== start;) ring.unshift((at = before.get(at)!));
          const nodes = [...ring].sort().join();
          if (!rings.has(nodes)) rings.set(nodes, [...ring, start].join(" -> "));
          queue.length = 0;
          break;
        }
        if (before.has(next)) continue;
        before.set(next, node);
        queue.push(next);
      }
    }
  }
  return [...rings.values()];
}

/** Edges between files, folders or packages: whatever `nameOf` makes of a file. */
export function graph(
  of: readonly Import[],
  nameOf: (file: string) => string | undefined,
): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>();
  for (const { from, to } of of) {
    const [a, b] = [nameOf(from), to === undefined ? undefined : nameOf(to)];
    if (a === undefined) continue;
    const targets = edges.get(a) ?? new Set();
    edges.set(a, targets);
    if (b !== undefined && b !== a) targets.add(b);
  }
  return edges;
}
