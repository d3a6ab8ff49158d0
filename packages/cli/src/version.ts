import { readFileSync } from "node:fs";

interface PackageJson {
  readonly version: string;
}

/** This package's version, such as "0.1.0". */
export const version = (
  JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as PackageJson
).version;
