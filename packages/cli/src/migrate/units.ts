import { InvalidArgumentError } from "commander";

const UNITS = ["", "K", "M", "G"];

/** "64M" is 64 MiB. */
export function parseBytes(text: string): number {
  const [, digits, unit] = /^(\d{1,15})([KMG]?)$/.exec(text) ?? [];
  const count = Number(digits) * 1024 ** UNITS.indexOf(unit ?? "");
  if (!(count > 0)) throw new InvalidArgumentError("must be a number of bytes, as 4096, 512K, 64M, 1G.");
  return count;
}

/** "1.5 ms", "12 ms", "3.20 s" */
export function duration(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}
