import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import type { SourcePlace } from "../explain/index.js";
import { CommandError } from "./errors.js";

/** Outputs of nm for a kernel are tens of megabytes. */
const MAX_BUFFER = 1 << 30;

/** A function's code: its section, and where in the file, or in the section of a module, it begins. */
interface Code {
  readonly section: string;
  readonly start: bigint;
  /** Undefined for the last of its section: up to where a module's memory ends, which the file does not say. */
  readonly size: bigint | undefined;
}

/**
 * Where the symbols of a log ("fn+0x12/0x34", "fn+0x12/0x34 [module]") are in the source, by nm and `addr2line -i` of a
 * kernel and modules with debugging information. As scripts/faddr2line does: of several functions of a name, only those
 * of the size that the log prints count, and only if one is left. The address that a stack has is that of the
 * instruction after the call, so the one before is looked up.
 * @param files vmlinux, and modules, known by their names: vfio-pci-core.ko has the symbols of `[vfio_pci_core]`
 * @returns undefined if the programs are not installed
 * @throws CommandError if a file cannot be read
 */
export function symbolizer(
  files: readonly string[],
  symbols: readonly string[],
): ((symbol: string) => readonly SourcePlace[] | undefined) | undefined {
  const places = new Map<string, readonly SourcePlace[] | undefined>();
  for (const file of files) {
    if (!existsSync(file)) throw new CommandError(`${file}: no such file`);
    const module = /([^/]+)\.ko(?:\.debug)?$/.exec(file)?.[1]!.replaceAll("-", "_");
    const theirs = symbols.filter((symbol) => MODULE.exec(symbol)?.[1] === module);
    const names = run("nm", ["-n", "--defined-only", "--format=sysv", file], file);
    if (names === undefined) return undefined;
    for (const [section, found] of placesIn(codeOf(names), theirs)) {
      // A module is not linked yet: each of its sections begins at 0.
      const within = module === undefined ? [] : ["-j", section];
      const order = [...found.keys()];
      const input = order.map((symbol) => `0x${found.get(symbol)!.toString(16)}\n`).join("");
      const output = run("addr2line", ["-aif", ...within, "-e", file], file, input);
      if (output === undefined) return undefined;
      const blocks = output.split(/^0x[0-9a-f]+\n/m).slice(1);
      blocks.forEach((block, i) => places.set(order[i]!, placesOf(block)));
    }
  }
  return (symbol) => places.get(symbol);
}

/** The module of a symbol, if it is of one. */
const MODULE = / \[([\w-]+)\]$/;

function run(program: string, args: readonly string[], file: string, input = ""): string | undefined {
  const { error, status, stdout, stderr } = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: MAX_BUFFER,
    input,
  });
  if (error && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
  if (error) throw new CommandError(`${program}: ${error.message}`);
  if (status !== 0) throw new CommandError(`${file}: ${stderr.trim().split("\n")[0] ?? ""}`);
  return stdout;
}

/** The functions of each name, from nm's table: name, value, class, type, size, line, section. */
function codeOf(names: string): Map<string, Code[]> {
  const symbols = names.split("\n").flatMap((line) => {
    const [name, value, , type, , , section] = line.split("|").map((part) => part.trim());
    if (section === undefined || !/^[0-9a-f]+$/.test(value!)) return [];
    return [
      { name: name!, start: BigInt(`0x${value!}`), code: type === "FUNC" || type === "NOTYPE", section },
    ];
  });
  const functions = new Map<string, Code[]>();
  const next = new Map<string, { readonly start: bigint; readonly end: bigint | undefined }>();
  // From the end, since a function ends, as kallsyms counts, where the next symbol at another address of its section
  // begins: padding is included.
  for (const { name, start, code, section } of symbols.reverse()) {
    const after = next.get(section);
    const end = after?.start === start ? after.end : after?.start;
    next.set(section, { start, end });
    if (!code) continue;
    const one = { section, start, size: end === undefined ? undefined : end - start };
    functions.set(name, [...(functions.get(name) ?? []), one]);
  }
  return functions;
}

/** By section, the address of each symbol whose function the file has once, in the size that the log prints. */
function placesIn(
  functions: ReadonlyMap<string, readonly Code[]>,
  symbols: readonly string[],
): Map<string, Map<string, bigint>> {
  const sections = new Map<string, Map<string, bigint>>();
  for (const symbol of symbols) {
    const [, name, offset, size] = /^(\S+)\+0x([0-9a-f]+)\/0x([0-9a-f]+)/.exec(symbol) ?? [];
    const [at, length] = [BigInt(`0x${offset!}`), BigInt(`0x${size!}`)];
    const fits = (functions.get(name!) ?? []).filter((one) => (one.size ?? length) === length);
    if (fits.length !== 1 || at === 0n || at >= length) continue;
    const { section, start } = fits[0]!;
    const addresses = sections.get(section) ?? new Map<string, bigint>();
    sections.set(section, addresses.set(symbol, start + at - 1n));
  }
  return sections;
}

/** Pairs of lines: a function, and its file and line. Unknown ones have question marks. */
function placesOf(block: string): SourcePlace[] | undefined {
  const lines = block.trim().split("\n");
  const places: SourcePlace[] = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const match = /^(.*):(\d+)/.exec(lines[i + 1]!);
    if (!match || match[1] === "??" || match[2] === "0") return undefined;
    places.push({ fn: lines[i]!, file: shortened(match[1]!), line: Number(match[2]) });
  }
  return places;
}

/** The path within the kernel's source, where the build's own folder stands before it. */
function shortened(file: string): string {
  const normal = file.replace(/\/[^/]+\/\.\.(?=\/)/g, "").replace(/^\.\//, "");
  return (
    /(?:^|\/)((?:arch|block|crypto|drivers|fs|include|init|io_uring|ipc|kernel|lib|mm|net|samples|security|sound|virt)\/.*)$/.exec(
      normal,
    )?.[1] ?? normal
  );
}
