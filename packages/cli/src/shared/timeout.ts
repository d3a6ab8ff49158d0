import { Option } from "commander";
import { parseTime } from "./units.js";

/** `--timeout`: how long a command waits for each answer of the server. The option's value is in milliseconds. */
export function timeoutOption(): Option {
  return new Option("--timeout <time>", "how long to wait for an answer of the server")
    .argParser(parseTime("s", "above 0"))
    .default(10_000, "10s");
}
