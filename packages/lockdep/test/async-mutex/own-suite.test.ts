import assert from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { compileFunction } from "node:vm";
import { lockdep } from "@vfiokit/lockdep";
import * as ours from "@vfiokit/lockdep/async-mutex";
import ts from "typescript";
import { afterEach, beforeEach, describe, it } from "vitest";
import { freshValidator } from "../support/validator.js";

freshValidator();
beforeEach(() => lockdep.configure({ mode: () => undefined }));

/**
 * async-mutex's own tests. Its later releases publish none, so those of the release that did are a dependency; for the
 * newest, ASYNC_MUTEX names a clone of its repository, with its dependencies installed.
 */
const require = createRequire(import.meta.url);
const library = resolve(
  process.env["ASYNC_MUTEX"] ?? dirname(require.resolve("async-mutex-suite/package.json")),
);

/** What those tests expect of mocha, and of the library: they import each of its files by itself. */
const mocha = { suite: describe, setup: beforeEach, teardown: afterEach, test: it };
const defaults: Readonly<Record<string, unknown>> = { Mutex: ours.Mutex, Semaphore: ours.Semaphore };
/** Both as a namespace and as a default, since the tests of then import a function as a namespace. */
const asserting = Object.assign(assert, { __esModule: true, default: assert });

const loaded = new Map<string, unknown>();
function load(file: string): unknown {
  if (loaded.has(file)) return loaded.get(file);
  const module = { exports: {} };
  loaded.set(file, module.exports);
  const code = ts.transpile(readFileSync(file, "utf8"), {
    module: ts.ModuleKind.CommonJS,
    target: ts.ScriptTarget.ES2022,
  });
  const names = Object.keys(mocha);
  const run = compileFunction(code, ["module", "exports", "require", ...names], { filename: file }) as (
    ...args: unknown[]
  ) => void;
  run(module, module.exports, requireFrom(file), ...Object.values(mocha));
  loaded.set(file, module.exports);
  return module.exports;
}

const requireFrom = (file: string) => {
  const theirs = createRequire(file);
  return (name: string): unknown => {
    if (name === "assert") return asserting;
    if (!name.startsWith(".")) return theirs(name);
    const path = join(dirname(file), name);
    if (dirname(path) === join(library, "test")) return load(`${path}.ts`);
    return { ...ours, __esModule: true, default: defaults[basename(path)] };
  };
};

const files = readdirSync(join(library, "test")).filter((file) => file.endsWith(".ts"));
describe.each(files)("async-mutex's own test/%s passes on the drop-in", (file) => {
  load(join(library, "test", file));
});
