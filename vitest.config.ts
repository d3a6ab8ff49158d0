import { fileURLToPath } from "node:url";
import { defaultExclude, defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("packages", import.meta.url));

/**
 * VFIOKIT_SHORT: for a second version of Node. Left out is what starts virtual machines, or most processes, or explores
 * most, since it depends least on the version; two cards in a guest stay.
 */
const long = [
  "packages/explore/test/{protocol/spin,reduction,oracle/*}.test.ts",
  "packages/lab/test/{mutants,lab,hand-over,parts}.test.ts",
  "packages/cli/test/lab/{queue,check}.test.ts",
  "packages/cli/test/{faults,demo,lab}.test.ts",
  "packages/cli/test/receive/receive.test.ts",
  "packages/lockdep/test/protocol/spin.test.ts",
  "test/docs/{commands,demo-picture}.test.ts",
  "packages/user/test/server/fuzz.test.ts",
  "test/browser/**",
  "test/faults/**",
  "test/fuzz/**",
  "test/kill/**",
  "test/qemu/!(iommu|gpio).test.ts",
  "test/soak/**",
];

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
    exclude: [...defaultExclude, ...(process.env["VFIOKIT_SHORT"] ? long : [])],
    // Two cores: file parallelism beyond that only adds noise to tests that talk to real processes.
    maxWorkers: 2,
    pool: "forks",
    // What a test that hangs is told by: a busy machine takes ten times as long over an exploration as a free one.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    reporters: ["default", "./scripts/counts-reporter.js"],
  },
});
