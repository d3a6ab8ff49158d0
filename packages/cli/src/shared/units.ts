import { InvalidArgumentError } from "commander";

const UNITS = ["", "K", "M", "G"];

/** "64M" is 64 MiB. For options. @param least in bytes */
export function parseBytes(text: string, least = 1): number {
  const [, digits, unit] = /^(\d{1,15})([KMG]?)$/.exec(text) ?? [];
  const count = Number(digits) * 1024 ** UNITS.indexOf(unit ?? "");
  if (!(count >= least)) throw new InvalidArgumentError("must be a number of bytes, as 4096, 512K, 64M, 1G.");
  return count;
}

const MILLISECONDS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
type TimeUnit = keyof typeof MILLISECONDS;

const DAY_MS = 24 * MILLISECONDS.h;

/**
 * How long something may take, as "500ms", "4s", "1.5m" or "1h", up to a day. For options.
 * @param alone the unit of a number without one
 * @param rule "any time", or "above 0" where that is no time to wait
 * @returns milliseconds
 */
export function parseTime(
  alone: TimeUnit,
  rule: "any time" | "above 0" = "any time",
): (text: string) => number {
  return (text) => {
    const [, number, unit] = /^(\d{1,12}(?:\.\d+)?)(ms|s|m|h)?$/.exec(text) ?? [];
    const ms = Number(number) * MILLISECONDS[(unit ?? alone) as TimeUnit];
    if (ms <= DAY_MS && (rule === "any time" || ms > 0)) return ms;
    const above = rule === "above 0" ? ", above 0" : "";
    throw new InvalidArgumentError(
      `must be a time up to 24h${above}, as 500ms, 4s, 2m; a number alone is in ${alone}.`,
    );
  };
}

/** "23 µs", "1.5 ms", "210 ms", "3.20 s" */
export function duration(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 100) return `${Math.round(ms)} ms`;
  return ms < 1 ? `${Math.round(ms * 1000)} µs` : `${ms.toFixed(1)} ms`;
}
