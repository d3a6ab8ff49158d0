import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** In the guest. */
const PREFIX = "opt/vfiokit";
/** Of packages in CommonJS, bundled. */
const REQUIRE =
  'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** What a guest needs to run this project: a file each, by its path in the guest. */
export interface GuestNode {
  readonly files: ReadonlyMap<string, string>;
  /** How the guest runs a script of `bundle`. */
  command(script: string): string;
}

/**
 * Node with its libraries and koffi's, `vfiokit`, and the given scripts, bundled. Node is this process's own; it runs by this
 * machine's loader and libraries, which are older or newer than those of the guest's other programs.
 *
 * @param folder a new one, which must stay until the guest's image is made
 */
export async function guestNode(
  folder: string,
  scripts: Readonly<Record<string, string>>,
): Promise<GuestNode> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: { vfiokit: join(ROOT, "packages/cli/bin/vfiokit.js"), ...scripts },
    outdir: folder,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: ["koffi"],
    banner: { js: REQUIRE },
    logLevel: "error",
  });
  const files = new Map<string, string>();
  for (const name of readdirSync(folder)) files.set(`${PREFIX}/dist/${name}`, join(folder, name));
  // Beside the folder of its scripts, as in the package.
  files.set(`${PREFIX}/package.json`, join(ROOT, "packages/cli/package.json"));

  const require = createRequire(join(ROOT, "packages/user/package.json"));
  const koffi = dirname(require.resolve("koffi"));
  const modules = dirname(koffi);
  for (const part of [koffi, join(modules, "@koromix")].filter(existsSync)) {
    for (const file of filesBelow(part)) files.set(`${PREFIX}/node_modules/${relative(modules, file)}`, file);
  }
  files.set(`${PREFIX}/bin/node`, realpathSync(process.execPath));
  const libraries = execFileSync("ldd", [process.execPath], { encoding: "utf8" });
  for (const [, library] of libraries.matchAll(/(\/\S+) \(0x/g))
    files.set(`${PREFIX}/lib/${basename(library!)}`, realpathSync(library!));
  const loader = [...files.keys()].find((name) => basename(name).startsWith("ld-linux"))!;
  const node = `/${loader} --library-path /${PREFIX}/lib /${PREFIX}/bin/node`;
  return { files, command: (script) => `${node} /${PREFIX}/dist/${script}.js` };
}

/** What a package needs to run: no C, no documents. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true, encoding: "utf8" })
    .filter((entry) => entry.isFile() && /\.(c?js|json|node)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !/^(doc|vendor)\//.test(relative(folder, file)));
}
