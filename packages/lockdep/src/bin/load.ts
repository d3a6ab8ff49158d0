import { readFileSync } from "node:fs";
import { parseProtocol, ProtocolError, type Protocol, type Scenario } from "../protocol/index.js";
import { CommandError, UsageError } from "./errors.js";

/** A scenario, and the file that it is in. */
export interface FileScenario {
  readonly file: string;
  readonly scenario: Scenario;
}

/** See `loadScenarios` of index.ts. */
export function loadScenarios(files: readonly string[], name: string | undefined): readonly FileScenario[] {
  const all = files.flatMap((file) => load(file).scenarios.map((scenario) => ({ file, scenario })));
  const chosen = name === undefined ? all : all.filter(({ scenario }) => scenario.name === name);
  if (chosen.length === 0) throw new UsageError(`no scenario is called "${name ?? ""}"`);
  return chosen;
}

function load(file: string): Protocol {
  try {
    return parseProtocol(readFileSync(file, "utf8"), file);
  } catch (error) {
    if (error instanceof ProtocolError || isSystemError(error)) throw new CommandError(error.message);
    throw error;
  }
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && "syscall" in error;
