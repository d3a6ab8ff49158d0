import { pino, type Level, type Logger } from "pino";
import { err, printableJson } from "./output.js";

export type { Logger } from "pino";

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

const levelName = new Map<number, Level>(
  Object.entries(pino.levels.values).map(([name, n]) => [n, name as Level]),
);

/** A log on standard error: a line of text each on a terminal, else JSON. */
export function createLog(level: LogLevel): Logger {
  const options = { level, base: null, hooks: { streamWrite: printableJson } };
  if (!err.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, { write: (line: string) => err.text(textOf(line)) });
}

/** "12:03:44 info  client connected pid=812" */
function textOf(line: string): string {
  const { style } = err;
  const { time, level, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const clock = new Date(time as number).toTimeString().slice(0, 8);
  const name = levelName.get(level as number) ?? "";
  const colour =
    name === "error" || name === "fatal" ? style.red : name === "warn" ? style.yellow : style.dim;
  const details = Object.entries(rest).map(([key, value]) => `${key}=${String(value)}`);
  return (
    [style.dim(clock), colour(name.padEnd(5)), String(msg), style.dim(details.join(" "))]
      .join(" ")
      .trimEnd() + "\n"
  );
}
