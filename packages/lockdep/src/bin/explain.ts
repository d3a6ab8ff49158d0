import { readFileSync } from "node:fs";
import {
  explainSplat,
  parseKernelLog,
  splatGraph,
  splatJson,
  symbolsIn,
  type ParseOptions,
} from "../explain/index.js";
import { CommandError } from "./errors.js";
import { symbolizer } from "./decode.js";
import { err, out } from "./output.js";
import { printPictures, type PictureOptions } from "./pictures.js";

interface Options extends PictureOptions {
  readonly decode?: readonly string[];
}

/** What `lockdep explain` does. */
export async function explain(file: string, options: Options): Promise<void> {
  const log = read(file);
  const splats = parseKernelLog(log, decoding(log, options.decode));
  if (splats.length === 0) throw new CommandError(`${file}: no report of lockdep in it`);
  if (options.json) {
    out.json(splats.map(splatJson), 2);
    return;
  }
  const graphs = splats.flatMap((splat) => splatGraph(splat) ?? []);
  if (await printPictures(options, graphs)) return;
  out.text(splats.map(explainSplat).join("\n"));
}

function decoding(log: string, files: readonly string[] | undefined): ParseOptions {
  if (files === undefined) return {};
  const symbolize = symbolizer(files, symbolsIn(log));
  if (symbolize) return { symbolize };
  err.line(
    "--decode needs nm and addr2line: install binutils (apt install binutils, dnf install binutils). Places stay as they are.",
  );
  return {};
}

function read(file: string): string {
  try {
    const bytes = readFileSync(file === "-" ? 0 : file);
    // Windows' terminals save what they show as UTF-16, with a byte order mark.
    const encoding = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.subarray(0, 2).join()] ?? "utf-8";
    return new TextDecoder(encoding).decode(bytes);
  } catch (error) {
    throw new CommandError((error as Error).message);
  }
}
