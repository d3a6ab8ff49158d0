import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeBlocks, root } from "../docs/markdown.js";

/**
 * The packages as their users get them: packed, and installed into an empty project from the tarballs. What others
 * publish comes from the registry, or from npm's cache.
 */

interface Manifest {
  readonly name: string;
  readonly devDependencies?: Record<string, string>;
  readonly bin?: Record<string, string>;
  readonly exports: Record<string, string | { readonly types: string }>;
}

interface Tarball {
  readonly name: string;
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

const { workspaces } = JSON.parse(readFileSync(`${root}/package.json`, "utf8")) as { workspaces: string[] };
const packages = workspaces.map((folder) => ({
  folder,
  manifest: JSON.parse(readFileSync(`${root}/${folder}/package.json`, "utf8")) as Manifest,
}));
/** Libraries that a README's reader has already. */
const readersOwn = packages.flatMap(({ manifest }) =>
  Object.entries(manifest.devDependencies ?? {})
    .filter(([name]) => /^(async-lock|async-mutex|p-limit|p-queue|@viz-js\/viz)$/.test(name))
    .map(([name, range]) => `${name}@${range}`),
);
/** "@vfiokit/core/pci": everything that can be imported. */
const entries = packages.flatMap(({ manifest: { name, exports } }) =>
  Object.entries(exports)
    .filter(([, target]) => typeof target === "object")
    .map(([subpath]) => name + subpath.slice(1)),
);

const folder = mkdtempSync(join(tmpdir(), "vfiokit-packed-"));
const app = join(folder, "app");
const tarballs = new Map<string, Tarball>();
afterAll(() => rmSync(folder, { recursive: true }), 60_000);

/** npm says nothing, whoever started the test, and leaves the environment of `npm test` out. */
function npm(cwd: string, ...args: string[]): string {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("npm_")));
  return execFileSync("npm", [...args, "--loglevel=error"], { cwd, env, encoding: "utf8" });
}

const node = (...args: string[]) =>
  spawnSync(process.execPath, args, { cwd: app, encoding: "utf8", timeout: 100_000 });

/** Transpiled, with the test's folder in place of /tmp. */
function program(name: string, text: string): string {
  const { outputText } = ts.transpileModule(text.replaceAll("/tmp/", `${folder}/`), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  writeFileSync(join(app, name), outputText);
  return name;
}

beforeAll(() => {
  const packed = npm(root, "pack", "--workspaces", "--json", "--pack-destination", folder);
  // An array, or, from some versions of npm on, an object with a member for each package.
  for (const tarball of Object.values(JSON.parse(packed) as Record<string, Tarball>))
    tarballs.set(tarball.name, tarball);
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), '{"name":"app","private":true,"type":"module"}');
  const files = [...tarballs.values()].map(({ filename }) => join(folder, filename));
  npm(app, "install", "--prefer-offline", "--no-audit", "--no-fund", ...files, ...readersOwn);
}, 300_000);

describe.each(packages)("$manifest.name", ({ folder: source, manifest }) => {
  const paths = () => tarballs.get(manifest.name)!.files.map(({ path }) => path);

  it("is packed with its licence and README, and without what only the workspace needs", () => {
    expect(paths()).toEqual(expect.arrayContaining(["LICENSE", "README.md", "package.json"]));
    expect(paths().filter((path) => /tsbuildinfo|^test\/|^node_modules\/|\.test\./.test(path))).toEqual([]);
  });

  it("has every file that its manifest names", () => {
    const named = [
      ...Object.values(manifest.exports).flatMap((target) =>
        typeof target === "string" ? [target] : Object.values(target),
      ),
      ...Object.values(manifest.bin ?? {}),
    ].map((path) => path.replace(/^\.\//, ""));
    expect(named.filter((path) => !paths().includes(path))).toEqual([]);
  });

  it("has a README whose links work on a registry's page", () => {
    const readme = readFileSync(`${root}/${source}/README.md`, "utf8");
    const targets = [...readme.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!);
    expect(targets.filter((target) => !/^(https:|#)/.test(target))).toEqual([]);
  });
});

it.each(entries)("import and require of %s", (entry) => {
  writeFileSync(join(app, "entry.js"), `await import("${entry}");`);
  expect(node("entry.js")).toMatchObject({ status: 0, stderr: "" });
  // Node 20.19, 22.12 and newer: ES modules without await at their top can be required.
  writeFileSync(join(app, "entry.cjs"), `require("${entry}");`);
  expect(node("--no-warnings", "entry.cjs")).toMatchObject({ status: 0, stderr: "" });
});

it("the types of every entry compile with all of the compiler's checks, for Node and for browsers", () => {
  mkdirSync(join(app, "node_modules/@types"), { recursive: true });
  symlinkSync(`${root}/node_modules/@types/node`, join(app, "node_modules/@types/node"));
  const compilerOptions = {
    target: "ES2022",
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    lib: ["ES2023", "ESNext.Disposable", "DOM"],
  };
  const compile = (name: string, types: readonly string[], names: readonly string[]) => {
    const text = names.map((entry, i) => `export * as e${i} from "${entry}";`).join("\n");
    writeFileSync(join(app, `${name}.ts`), text);
    const config = { compilerOptions: { ...compilerOptions, types }, files: [`${name}.ts`] };
    writeFileSync(join(app, `tsconfig.${name}.json`), JSON.stringify(config));
    const { stdout } = node(`${root}/node_modules/typescript/bin/tsc`, "-p", `tsconfig.${name}.json`);
    expect(stdout).toBe("");
  };
  compile("every", ["node"], entries);
  const browser = /^@vfiokit\/(core|devices|explore|lab|user\/wire|lockdep(\/protocol|\/explain)?)$/;
  compile(
    "browser",
    [],
    entries.filter((entry) => browser.test(entry)),
  );
}, 120_000);

describe("the examples of the READMEs run from the tarballs", () => {
  const examples = packages
    .filter(({ manifest }) => manifest.name !== "@vfiokit/user")
    .flatMap(({ folder: source, manifest: { name } }) =>
      codeBlocks(`${source}/README.md`)
        .filter(({ language }) => language === "ts")
        .map(({ text, line }) => ({ name, line, text })),
    );

  it.each(examples)(
    "$name, line $line",
    ({ name, line, text }) => {
      const file = program(`${name.replace(/\W/g, "")}-${line}.js`, text);
      expect(node(file)).toMatchObject({ status: 0 });
    },
    120_000,
  );

  it("@vfiokit/user: a served device, and its client", async () => {
    const [serve, use] = codeBlocks("packages/user/README.md")
      .filter(({ language }) => language === "ts")
      .map(({ text }, i) => program(`user-${i}.js`, text + (i === 0 ? '\nconsole.log("listens");' : "")));
    const server = spawn(process.execPath, [serve!], { cwd: app, stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(server, "exit");
    try {
      await once(server.stdout, "data");
      expect(node(use!)).toMatchObject({ status: 0, stderr: "" });
    } finally {
      server.kill();
      await ended;
    }
  }, 60_000);

  it("vfiokit", () => {
    const vfiokit = (...args: string[]) => node("node_modules/vfiokit/bin/vfiokit.js", ...args);
    cpSync(`${root}/examples/vfio-reset.yaml`, join(app, "examples/vfio-reset.yaml"));
    expect(vfiokit("lab", "check", "examples/vfio-reset.yaml")).toMatchObject({ stderr: "" });
    expect(vfiokit("lockdep", "check", "examples/vfio-reset.yaml")).toMatchObject({ status: 0, stderr: "" });
    expect(vfiokit("demo")).toMatchObject({ status: 0 });
  }, 120_000);
});
