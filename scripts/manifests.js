// What the packages' manifests have in common comes from the root's package.json, and so does the address in the links of
// their READMEs, which a registry's page shows without the repository around them. `npm run manifests` writes; `--check`
// compares, and exits with 1 where something differs.
import { existsSync, readFileSync, writeFileSync } from "node:fs";

/** @typedef {Record<string, unknown> & { workspaces: string[], homepage?: string, repository: object }} Manifest */

const check = process.argv.includes("--check");
const root = read("package.json");
const address = root.homepage ?? "";

for (const folder of root.workspaces) {
  const manifest = read(`${folder}/package.json`);
  const { name, version, description, keywords, ...own } = manifest;
  const common = {
    license: root["license"],
    homepage: `${address}/tree/main/${folder}#readme`,
    bugs: `${address}/issues`,
    repository: { ...root.repository, directory: folder },
    type: root["type"],
    engines: root["engines"],
    publishConfig: { access: "public" },
  };
  const whole = Object.entries({ name, version, description, keywords, ...common, ...own, ...common });
  write(`${folder}/package.json`, `${JSON.stringify(Object.fromEntries(whole), undefined, 2)}\n`);

  const before = manifest.homepage?.replace(/\/tree\/.*/, "") ?? address;
  const readme = readFileSync(`${folder}/README.md`, "utf8");
  write(`${folder}/README.md`, readme.replaceAll(`(${before}/`, `(${address}/`));
  write(`${folder}/LICENSE`, readFileSync("LICENSE", "utf8"));
}

/** @param {string} path */
function read(path) {
  /** @type {unknown} */
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  return /** @type {Manifest} */ (manifest);
}

/** @param {string} path @param {string} text */
function write(path, text) {
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  if (!check) {
    writeFileSync(path, text);
    return;
  }
  console.error(`${path}: not what the root's package.json asks for (npm run manifests)`);
  process.exitCode = 1;
}
