import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import type { SourcePlace } from "../explain/index.js";
import { CommandError } from "./errors.js";

/** Outputs of nm for a kernel are tens of megabytes. */
const MAX_BUFFER = 1 << 30;

/**
 * Where the symbols of a log ("fn+0x12/0x34") are in the source, by nm and `addr2line -i` of a kernel with debugging
 * information. As scripts/faddr2line does: of several functions of a name, only those of the size that the log prints
 * count, and only if one is left. The address that a stack has is that of the instruction after the call, so the one
 * before is looked up.
 * @returns undefined if the programs are not installed
 * @throws CommandError if the kernel cannot be read
 */
export function symbolizer(
  vmlinux: string,
  symbols: readonly string[],
): ((symbol: string) => readonly SourcePlace[] | undefined) | undefined {
  if (!existsSync(vmlinux)) throw new CommandError(`${vmlinux}: no such file`);
  const names = run("nm", ["-n", "--defined-only", vmlinux], vmlinux);
  if (names === undefined) return undefined;
  const addresses = addressesOf(names, symbols);
  const order = [...addresses.keys()];
  if (order.length === 0) return () => undefined;
  const input = order.map((symbol) => `0x${addresses.get(symbol)!.toString(16)}\n`).join("");
  const output = run("addr2line", ["-aif", "-e", vmlinux], vmlinux, input);
  if (output === undefined) return undefined;
  const places = new Map(
    output
      .split(/^0x[0-9a-f]+\n/m)
      .slice(1)
      .map((block, i) => [order[i]!, placesOf(block)]),
  );
  return (symbol) => places.get(symbol);
}

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

/** The address of each symbol that the kernel has once, in the size that the log prints. */
function addressesOf(names: string, symbols: readonly string[]): Map<string, bigint> {
  const wanted = new Set(symbols.map((symbol) => symbol.replace(/\+.*/, "")));
  const found = new Map<string, { readonly start: bigint; readonly size: bigint }[]>();
  const lines = names.split("\n").flatMap((line) => {
    const match = /^([0-9a-f]+) ([a-zA-Z]) (\S+)$/.exec(line);
    return match
      ? [{ start: BigInt(`0x${match[1]!}`), code: /[tTwW]/.test(match[2]!), name: match[3]! }]
      : [];
  });
  lines.forEach(({ start, code, name }, i) => {
    if (!code || !wanted.has(name)) return;
    // As kallsyms counts: up to the next symbol at another address, padding included.
    let next = i + 1;
    while (lines[next]?.start === start) next++;
    const one = { start, size: (lines[next]?.start ?? start) - start };
    found.set(name, [...(found.get(name) ?? []), one]);
  });
  const addresses = new Map<string, bigint>();
  for (const symbol of symbols) {
    const [, name, offset, size] = /^(.*)\+0x([0-9a-f]+)\/0x([0-9a-f]+)$/.exec(symbol) ?? [];
    const fits = (found.get(name ?? "") ?? []).filter((one) => one.size === BigInt(`0x${size!}`));
    const at = BigInt(`0x${offset ?? "0"}`);
    if (fits.length === 1 && at > 0n && at < fits[0]!.size) addresses.set(symbol, fits[0]!.start + at - 1n);
  }
  return addresses;
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
