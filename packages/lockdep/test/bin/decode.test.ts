import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { lockdep, scratch } from "../support/command.js";

const has = (program: string): boolean => spawnSync(program, ["--version"]).error === undefined;
const tools = ["gcc", "nm", "addr2line"].every(has);

/** A program whose `outer` is nothing but a loop that is inlined from `inner`: lines 2 to 5. */
const PROGRAM = `volatile int sink;
static inline __attribute__((always_inline)) void inner(int n) {
  for (int i = 0; i < n; i++)
    sink += i * n;
}
__attribute__((noinline)) void outer(int n) { inner(n); }
int main(int argc, char **argv) { (void)argv; outer(argc); return 0; }
`;

const logOf = (symbol: string): string => `WARNING: held lock freed!
t/1 is freeing memory 1-2, with a lock still held there!
ffff01 (&l){+.+.}-{4:4}, at: ${symbol}
1 lock held by t/1:
 #0: ffff01 (&l){+.+.}-{4:4}, at: ${symbol}
`;

/** Of the last function of its section, as the kernel has it: up to where the section ends. */
function sizeIn(file: string, name: string): string {
  const { stdout } = spawnSync("nm", ["-S", file], { encoding: "utf8" });
  return `0x${BigInt(`0x${new RegExp(`^\\w+ (\\w+) \\w ${name}$`, "m").exec(stdout)![1]!}`).toString(16)}`;
}

describe.skipIf(!tools)("lockdep explain --decode", () => {
  function built(folder: { file(name: string): string }): { program: string; start: bigint; size: bigint } {
    writeFileSync(folder.file("probe.c"), PROGRAM);
    const program = folder.file("probe");
    const gcc = spawnSync("gcc", ["-g", "-O1", "-o", program, folder.file("probe.c")], { encoding: "utf8" });
    expect(gcc.stderr).toBe("");
    const symbols = spawnSync("nm", ["-n", program], { encoding: "utf8" })
      .stdout.split("\n")
      .flatMap((line) => /^([0-9a-f]+) \w (\S+)$/.exec(line)?.slice(1) ?? [])
      .reduce<{ at: bigint; name: string }[]>((all, part, i, parts) => {
        if (i % 2 === 0) all.push({ at: BigInt(`0x${part}`), name: parts[i + 1]! });
        return all;
      }, []);
    const outer = symbols.find(({ name }) => name === "outer")!;
    const next = symbols.find(({ at }) => at > outer.at)!;
    return { program, start: outer.at, size: next.at - outer.at };
  }

  it("shows file and line, and the inlined function as part of its caller", () => {
    using folder = scratch();
    const { program, size } = built(folder);
    const log = folder.file("dmesg");
    writeFileSync(log, logOf(`outer+0x${(size / 2n).toString(16)}/0x${size.toString(16)}`));
    const plain = lockdep(["explain", log]);
    expect(plain.stdout).not.toContain("probe.c");
    const { stdout, stderr } = lockdep(["explain", log, "--decode", program]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/Taken at: outer\+0x\w+\/0x\w+ \(\S*probe\.c:6\)/);
  });

  it("a symbol of a module is looked up in that module, though the kernel has one of the same name and size", () => {
    using folder = scratch();
    const { program, size } = built(folder);
    // As a module has its functions: in sections that all begin at 0, one of them with a function before it.
    const source = `__attribute__((section(".init.text"))) int setup(void) { return 1; }
int before(int n) { return n * 3; }
${PROGRAM.slice(0, PROGRAM.indexOf("int main"))}`;
    writeFileSync(folder.file("module.c"), source);
    const module = folder.file("probe-card.ko");
    const gcc = spawnSync("gcc", ["-c", "-g", "-O1", "-o", module, folder.file("module.c")], {
      encoding: "utf8",
    });
    expect(gcc.stderr).toBe("");
    const log = folder.file("dmesg");
    writeFileSync(log, logOf(`outer+0x4/${sizeIn(module, "outer")} [probe_card]`));
    expect(lockdep(["explain", log, "--decode", program]).stdout).not.toContain(".c:");
    const { stdout, stderr } = lockdep(["explain", log, "--decode", program, "--decode", module]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/Taken at: outer\+0x\w+\/0x\w+ \(\S*module\.c:8\)/);
    writeFileSync(log, logOf(`outer+0x4/0x${size.toString(16)}`));
    expect(lockdep(["explain", log, "--decode", module]).stdout).not.toContain(".c:");
  });

  it("a function of another size is another function, and stays as it is", () => {
    using folder = scratch();
    const { program, size } = built(folder);
    const log = folder.file("dmesg");
    writeFileSync(log, logOf(`outer+0x1/0x${(size + 16n).toString(16)}`));
    expect(lockdep(["explain", log, "--decode", program]).stdout).not.toContain("probe.c");
  });

  it("a file that is no kernel, and one that is not there, are errors that name it", () => {
    using folder = scratch();
    const log = folder.file("dmesg");
    writeFileSync(log, logOf("outer+0x1/0x2"));
    const wrong = lockdep(["explain", log, "--decode", log]);
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain(`error: ${log}: `);
    const none = lockdep(["explain", log, "--decode", folder.file("none")]);
    expect(none).toMatchObject({ code: 1, stderr: `error: ${folder.file("none")}: no such file\n` });
  });

  it("without binutils one line says what to install, and the report is explained all the same", () => {
    using folder = scratch();
    const log = folder.file("dmesg");
    writeFileSync(log, logOf("outer+0x1/0x2"));
    const { code, stdout, stderr } = lockdep(["explain", log, "--decode", log], {
      env: { PATH: folder.file("nothing") },
    });
    expect(stderr).toMatch(/^--decode needs nm and addr2line: install binutils.*\n$/);
    expect({ code, explained: stdout.includes("held lock freed!") }).toEqual({ code: 0, explained: true });
  });
});
