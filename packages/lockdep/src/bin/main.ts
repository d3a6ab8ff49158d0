import { readFileSync } from "node:fs";
import { lockdepCommand } from "./command.js";
import { runCommandLine } from "./run.js";

const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
const { version } = JSON.parse(manifest) as { version: string };

process.exitCode = await runCommandLine(lockdepCommand().version(version), process.argv);
