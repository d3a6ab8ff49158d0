import { UsageError } from "../errors.js";
import type { Logger } from "../log.js";
import type { Chardev, ChardevKind } from "./chardev.js";
import { file } from "./file.js";
import { pty } from "./pty.js";
import { stdio } from "./stdio.js";
import { unix } from "./unix.js";

export type { Chardev } from "./chardev.js";

const loopback: ChardevKind = {
  name: "loopback",
  summary: "returns to the guest what it sends",
  open: async () => ({
    backend: (await import("@vfiokit/devices")).loopbackBackend(),
    description: "loopback",
    path: undefined,
    usesStdout: false,
  }),
};

const nothing: ChardevKind = {
  name: "null",
  summary: "drops what the guest sends, and sends nothing",
  open: async () => ({
    backend: (await import("@vfiokit/devices")).nullBackend(),
    description: "null",
    path: undefined,
    usesStdout: false,
  }),
};

const kinds: readonly ChardevKind[] = [stdio, pty, unix, file, loopback, nothing];

/** "stdio | pty | unix:PATH | …" */
export const chardevSyntax = kinds.map(syntaxOf).join(" | ");

/** One line a kind, for the help text. */
export const chardevHelp = kinds.map((kind) => `  ${syntaxOf(kind).padEnd(12)} ${kind.summary}`).join("\n");

/** A chardev that was asked for, and not opened yet. */
export interface ChardevSpec {
  readonly kind: ChardevKind;
  readonly argument: string;
}

/** Reads "unix:/tmp/tty". @throws UsageError naming what is wrong */
export function parseChardev(text: string): ChardevSpec {
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  const argument = colon < 0 ? "" : text.slice(colon + 1);
  const kind = kinds.find((k) => k.name === name);
  if (!kind) throw new UsageError(`chardev "${text}": must be one of ${chardevSyntax}`);
  if (kind.argument !== undefined && argument === "") {
    throw new UsageError(`chardev "${text}": needs a path, as in ${syntaxOf(kind)}`);
  }
  if (kind.argument === undefined && colon >= 0) {
    throw new UsageError(`chardev "${text}": ${name} takes no argument`);
  }
  return { kind, argument };
}

/** @throws CommandError when it cannot be opened */
export async function openChardev({ kind, argument }: ChardevSpec, log: Logger): Promise<Chardev> {
  return kind.open(argument, log);
}

function syntaxOf(kind: ChardevKind): string {
  return kind.argument === undefined ? kind.name : `${kind.name}:${kind.argument}`;
}
