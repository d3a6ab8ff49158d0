// Packs every workspace package and asks publint and attw whether its consumers could use it.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";

for (const name of readdirSync("packages")) {
  const cwd = `packages/${name}`;
  execFileSync("npx", ["publint", "--strict"], { cwd, stdio: "inherit" });
  execFileSync("npx", ["attw", "--pack", ".", "--profile", "esm-only"], { cwd, stdio: "inherit" });
}
