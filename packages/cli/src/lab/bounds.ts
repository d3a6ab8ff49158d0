import type { Bounds } from "@vfiokit/lab";
import { UsageError } from "../errors.js";

/** Of "executions=1000,preemptions=2"; no limits of no text. @throws UsageError */
export function parseBounds(text: string | undefined): Bounds {
  const bounds: { executions?: number; preemptions?: number } = {};
  for (const part of text?.split(",") ?? []) {
    const [name, value = ""] = part.split("=");
    if (name !== "executions" && name !== "preemptions")
      throw new UsageError(`--bound "${part}": "executions=N" or "preemptions=N"`);
    bounds[name] = positive(`--bound ${name}`, value);
  }
  return bounds;
}

/** @throws UsageError for what is no whole number from 1 on */
export function positive(option: string, text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new UsageError(`${option} "${text}": a whole number from 1 on`);
}
