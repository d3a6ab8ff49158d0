import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("packages", import.meta.url));

export default defineConfig({
  // Tests import the packages by name and run against their sources: no stale build can hide a change.
  // `using` is newer than Node 20, so it is lowered here as tsc does it.
  oxc: { target: "es2022" },
  resolve: {
    alias: [
      { find: /^@vfiokit\/(\w+)$/, replacement: `${packages}/$1/src/index.ts` },
      { find: /^@vfiokit\/(\w+)\/([\w-]+)$/, replacement: `${packages}/$1/src/$2/index.ts` },
    ],
  },
  test: {
    // Every test runs with the lock validator throwing.
    setupFiles: ["./test/setup-lockdep.ts"],
    include: ["packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
    // Two cores: file parallelism beyond that only adds noise to tests that talk to real processes.
    maxWorkers: 2,
    pool: "forks",
    testTimeout: 20_000,
    reporters: ["default", "./scripts/counts-reporter.js"],
  },
});
