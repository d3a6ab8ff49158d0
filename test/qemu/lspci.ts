/** A function as `lspci -vv` prints it, taken apart far enough to be compared. */
export interface LspciFunction {
  /** Lines before the first capability, each under its label: "Control", "Region 0". */
  readonly header: ReadonlyMap<string, string>;
  readonly capabilities: readonly LspciCapability[];
}

export interface LspciCapability {
  readonly offset: number;
  /** "Express (v2) Endpoint, IntMsgNum 0" */
  readonly title: string;
  /** "DevCap" and the like, with everything that belongs to it in one line. */
  readonly registers: ReadonlyMap<string, string>;
}

export function parseLspci(text: string): LspciFunction {
  const header = new Map<string, string>();
  const capabilities: (LspciCapability & { registers: Map<string, string> })[] = [];
  let register = "";
  for (const line of text.split("\n")) {
    const [, tabs, rest] = /^(\t*)(.*)$/.exec(line)!;
    const label = rest!.slice(0, rest!.indexOf(":"));
    const value = rest!.slice(label.length + 1).trim();
    const capability = capabilities.at(-1);
    const start = /^Capabilities: \[([0-9a-f]+)(?: v\d+)?\] (.*)$/.exec(rest!);
    if (start) {
      capabilities.push({ offset: parseInt(start[1]!, 16), title: start[2]!, registers: new Map() });
    } else if (tabs === "\t") {
      header.set(label, value);
    } else if (tabs === "\t\t" && capability) {
      register = label;
      capability.registers.set(register, value);
    } else if (tabs!.length > 2 && capability) {
      // lspci breaks long registers into lines.
      capability.registers.set(register, `${capability.registers.get(register)!} ${rest!.trim()}`);
    }
  }
  return { header, capabilities };
}

/**
 * The bits in a register's line: `ExtTag-` is false, `RBE+` is true. Those in brackets carry what stands before
 * them: `PME(D0-,D1+)` is PME.D0 and PME.D1.
 */
export function flagsOf(line: string): Record<string, boolean> {
  const flat = line.replace(/(\w+)\(([^)]*)\)/g, (_all, group: string, flags: string) =>
    flags
      .split(",")
      .map((flag) => `${group}.${flag}`)
      .join(" "),
  );
  const flags: Record<string, boolean> = {};
  for (const [, name, sign] of flat.matchAll(/(?<=^|[\s,])([<>]?[\w/.-]*\w)([+-])(?=$|[\s,;])/g)) {
    flags[name!] = sign === "+";
  }
  return flags;
}
