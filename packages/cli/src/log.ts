import { pino, type Level, type Logger } from "pino";
import { LogSink } from "./log-sink.js";
import { err, printableJson, shown } from "./output.js";
import type { LogLevel } from "./shared/log-levels.js";

const STDERR = 2;

export type { Logger } from "pino";

const levelName = new Map<number, Level>(
  Object.entries(pino.levels.values).map(([name, n]) => [n, name as Level]),
);

/** A log on standard error: a line of text each on a terminal, else JSON. */
export function createLog(level: LogLevel): Logger {
  const options = { level, base: null };
  const form = err.isTTY ? (line: string) => shown(textOf(line)) : printableJson;
  const sink = new LogSink(STDERR, (dropped) => form(droppedLine(dropped)));
  return pino(options, { write: (line: string) => sink.write(form(line)) });
}

/** As pino writes it. */
function droppedLine(dropped: number): string {
  const msg = `${dropped} lines of the log were dropped: nobody read standard error`;
  return `${JSON.stringify({ level: pino.levels.values["warn"], time: Date.now(), msg })}\n`;
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
