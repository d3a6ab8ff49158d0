import { InvalidArgumentError } from "commander";

const UNITS = ["", "K", "M", "G"];

/** "64M" is 64 MiB. For options. @param least in bytes */
export function parseBytes(text: string, least = 1): number {
  const [, digits, unit] = /^(\d{1,15})([KMG]?)$/.exec(text) ?? [];
  const count = Number(digits) * 1024 ** UNITS.indexOf(unit ?? "");
  if (!(count >= least)) throw new InvalidArgumentError("must be a number of bytes, as 4096, 512K, 64M, 1G.");
  return count;
}

const DAY_S = 24 * 60 * 60;

/** Seconds, up to a day. For options. */
export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || seconds > DAY_S)
    throw new InvalidArgumentError(`must be seconds, 0 to ${DAY_S}.`);
  return seconds;
}

/** "23 µs", "1.5 ms", "210 ms", "3.20 s" */
export function duration(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 100) return `${Math.round(ms)} ms`;
  return ms < 1 ? `${Math.round(ms * 1000)} µs` : `${ms.toFixed(1)} ms`;
}
