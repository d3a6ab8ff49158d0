// Writes the API reference, from the doc comments of everything that the packages export, to docs/api (not committed). Exits
// with 1 where an exported name has no doc comment, or a comment names what is not there.
import { readFileSync } from "node:fs";
import { Application, LogLevel, ReflectionKind } from "typedoc";

/** @typedef {{ name: string, exports: Record<string, string | { types: string }> }} Manifest */

const { workspaces } = /** @type {{ workspaces: string[] }} */ (read("package.json"));
const manifests = workspaces.map((folder) => ({
  folder,
  .../** @type {Manifest} */ (read(`${folder}/package.json`)),
}));
const entryPoints = manifests.flatMap(({ folder, exports }) =>
  Object.values(exports).flatMap((target) =>
    typeof target === "string"
      ? []
      : [`${folder}/${target.types.replace(/^\.\/dist/, "src").replace(/\.d\.ts$/, ".ts")}`],
  ),
);

const app = await Application.bootstrap({
  name: "vfiokit",
  readme: "none",
  entryPoints,
  alwaysCreateEntryPointModule: true,
  tsconfig: "tsconfig.api.json",
  out: "docs/api",
  excludeInternal: true,
  excludePrivate: true,
  disableSources: true,
  githubPages: false,
  logLevel: LogLevel.Warn,
  validation: { notExported: false },
});
const project = await app.convert();
if (!project) throw new Error("no API reference: see above");
app.validate(project);
for (const module of project.children ?? [])
  for (const name of undocumented(module))
    app.logger.warn(`${module.name}: ${name} is exported, and has no doc comment`);
if (!process.argv.includes("--check")) await app.generateOutputs(project);
if (app.logger.hasWarnings() || app.logger.hasErrors()) process.exitCode = 1;

/**
 * A type of the same name as a value is documented by that. Members say what they are by their names and types more often
 * than not, and so do registers, which are members of a namespace.
 * @param {import("typedoc").DeclarationReflection} module
 */
function undocumented({ children = [] }) {
  const documented = children
    .filter((one) => one.hasComment() || one.signatures?.some((signature) => signature.hasComment()))
    .map(({ name }) => name);
  return children.flatMap(({ name, kind }) =>
    kind === ReflectionKind.Reference || documented.includes(name) ? [] : [name],
  );
}

/** @param {string} path @returns {unknown} */
function read(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}
