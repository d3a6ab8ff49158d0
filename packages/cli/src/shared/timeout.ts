import { InvalidArgumentError, Option } from "commander";
import { parseSeconds } from "./units.js";

const DEFAULT_S = 10;

/** `--timeout`: how long a command waits for each answer of the server. In seconds. */
export function timeoutOption(): Option {
  return new Option("--timeout <seconds>", "how long to wait for an answer of the server")
    .argParser(parseTimeout)
    .default(DEFAULT_S);
}

/** @throws InvalidArgumentError: 0 is no time to wait */
function parseTimeout(text: string): number {
  const seconds = parseSeconds(text);
  if (seconds === 0) throw new InvalidArgumentError("must be seconds, above 0.");
  return seconds;
}
