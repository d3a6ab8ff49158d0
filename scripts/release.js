// npm run release -- VERSION: all packages get the version, and what CHANGELOG.md has under "Unreleased" becomes its section.
// Nothing is committed or published: a tag vVERSION on the commit has the workflow do that.
import { readFileSync, writeFileSync } from "node:fs";

/** @typedef {Record<string, unknown> & { name: string, version: string, dependencies?: Record<string, string> }} Manifest */

const [version = ""] = process.argv.slice(2);
const folders = /** @type {{ workspaces: string[] }} */ (read("package.json")).workspaces;
const manifests = folders.map((folder) => ({
  path: `${folder}/package.json`,
  manifest: /** @type {Manifest} */ (read(`${folder}/package.json`)),
}));
const before = manifests[0]?.manifest.version ?? "";
if (!/^\d+\.\d+\.\d+(-[0-9a-z.]+)?$/.test(version))
  fail(`"${version}" is no version, as 1.2.3 or 1.2.3-rc.1`);
if (!isNewer(version, before)) fail(`${version} is not newer than ${before}`);

const changelog = readFileSync("CHANGELOG.md", "utf8");
const [, entries = ""] = /^## \[Unreleased\]\n([^]*?)(?=^## |^\[|(?![^]))/m.exec(changelog) ?? [];
if (entries.trim() === "") fail("CHANGELOG.md has nothing under [Unreleased]");

for (const { path, manifest } of manifests) {
  const names = manifests.map((one) => one.manifest.name);
  for (const name of names) if (manifest.dependencies?.[name]) manifest.dependencies[name] = version;
  manifest.version = version;
  writeFileSync(path, `${JSON.stringify(manifest, undefined, 2)}\n`);
}
const date = new Date().toISOString().slice(0, 10);
writeFileSync(
  "CHANGELOG.md",
  changelog.replace("## [Unreleased]\n", `## [Unreleased]\n\n## [${version}] - ${date}\n`),
);
console.log(`${before} -> ${version}. Now: npm install, look at it, commit, and tag the commit v${version}`);

/** @param {string} path @returns {unknown} */
function read(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** By their numbers; a version with a suffix comes before the one without. @param {string} a @param {string} b */
function isNewer(a, b) {
  const [{ numbers, suffix }, old] = [parse(a), parse(b)];
  const at = numbers.findIndex((number, i) => number !== old.numbers[i]);
  return at < 0 ? suffix > old.suffix : (numbers[at] ?? 0) > (old.numbers[at] ?? 0);
}

/** @param {string} version */
function parse(version) {
  const [numbers = "", suffix = "~"] = version.split(/-(.*)/);
  return { numbers: numbers.split(".").map(Number), suffix };
}

/** @param {string} problem @returns {never} */
function fail(problem) {
  console.error(problem);
  process.exit(2);
}
