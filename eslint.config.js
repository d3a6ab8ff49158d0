import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

/**
 * What a package may import of the workspace: docs/architecture.md, "Packages". One way only.
 * @type {Record<string, string[]>}
 */
const mayImport = {
  lockdep: [],
  explore: ["lockdep"],
  core: ["lockdep"],
  lab: ["lockdep", "explore", "core"],
  user: ["lockdep", "core"],
  devices: ["core"],
  cli: ["lockdep", "explore", "core", "lab", "user", "devices"],
};
const everything = Object.keys(mayImport);

/** Folders that must run in a browser: nothing of Node's, and nothing of a command line's. */
const noNode = [
  "packages/lockdep/src/*.ts",
  "packages/explore/src/**",
  "packages/core/src/**",
  "packages/lab/src/**",
  "packages/user/src/layout/**",
  "packages/user/src/wire/**",
  "packages/devices/src/**",
];

/**
 * @param {string[]} patterns
 * @param {string} message
 */
const forbid = (patterns, message) =>
  // The empty alternative would match every import.
  patterns.length === 0 ? [] : [{ regex: `^(${patterns.join("|")})`, message }];

/** @type {import("eslint").Linter.Config[]} */
const direction = everything.map((name) => {
  const denied = everything.filter((other) => other !== name && !(mayImport[name] ?? []).includes(other));
  return {
    files: [`packages/${name}/src/**`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            ...forbid(
              [
                ...denied.map((other) => `@vfiokit/${other}(/|$)`),
                ...(name === "cli" ? [] : ["vfiokit(/|$)"]),
              ],
              `${name} must not import this package: dependencies go one way (docs/architecture.md).`,
            ),
            ...forbid(
              [`(\\.\\./){2,}(packages/)?(${everything.join("|")})/src/`],
              "Import other packages by name.",
            ),
          ],
        },
      ],
    },
  };
});

export default defineConfig(
  { ignores: ["**/dist/**", "test-results/**", "bench/results/**", "docs/api/**"] },
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylistic,
  {
    languageOptions: {
      parserOptions: {
        project: [
          "./packages/lab/src/report/page/tsconfig.json",
          "./packages/*/tsconfig.json",
          "./tsconfig.test.json",
        ],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      "no-restricted-syntax": [
        "error",
        { selector: "ExportDefaultDeclaration", message: "Named exports only." },
      ],
      eqeqeq: "error",
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-invalid-void-type": "off",
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
      "@typescript-eslint/unified-signatures": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
    },
  },
  ...direction,
  {
    // What peers and files say must not steer the terminal.
    files: ["packages/cli/src/**", "packages/lockdep/src/bin/**"],
    ignores: ["packages/lockdep/src/bin/output.ts"],
    rules: {
      "no-console": "error",
      "no-restricted-properties": [
        "error",
        ...["stdout", "stderr"].map((property) => ({
          object: "process",
          property,
          message: "Print by output.ts, which makes escapes visible.",
        })),
      ],
    },
  },
  {
    files: noNode,
    ignores: ["packages/lockdep/src/node/**", "packages/explore/src/bin/**"],
    rules: {
      "@typescript-eslint/no-restricted-imports": [
        "error",
        {
          patterns: [
            {
              regex: "^(node:|fs$|net$|os$|path$|koffi|commander)",
              message: "This folder must run without Node.",
            },
          ],
        },
      ],
    },
  },
  {
    // One word for a test. Those left out are under work elsewhere, and follow.
    files: ["packages/*/test/**", "test/**"],
    rules: {
      "no-restricted-imports": [
        "error",
        { paths: [{ name: "vitest", importNames: ["test"], message: "Tests are written with `it`." }] },
      ],
    },
  },
  {
    // Configuration files of tools that ask for a default export, and plain scripts.
    files: ["*.config.{js,ts}", "scripts/**", "bench/**"],
    rules: { "no-restricted-syntax": "off" },
  },
);
