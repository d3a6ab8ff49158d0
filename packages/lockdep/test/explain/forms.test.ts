import { readFileSync } from "node:fs";
import { explainSplat, parseKernelLog } from "@vfiokit/lockdep/explain";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const splat = (name: string): string =>
  readFileSync(new URL(`splats/${name}.log`, import.meta.url), "utf8").trimEnd();
const REPORTS = ["abba", "bad-unlock", "irq", "rwsem", "vfio-hot-reset", "vfio-ioctl-reset"].map(splat);

const ESC = "\x1b";
/** Every way in which the kernel's line `L` reaches people; `i` varies the time. */
const FORMS: Readonly<Record<string, (L: string, i: number) => string>> = {
  bare: (L) => L,
  dmesg: (L, i) => `[   58.${257433 + i}] ${L}`,
  "dmesg -T": (L) => `[Tue Dec 14 06:35:48 2021] ${L}`,
  "dmesg -x": (L) => `kern  :warn  : [   58.257433] ${L}`,
  "dmesg --raw": (L) => `<4>[   58.257433] ${L}`,
  "a CI's dmesg": (L) => `<4> [160.123456] ${L}`,
  "dmesg --time-format iso": (L) => `2021-12-14T06:35:48,545439+00:00 ${L}`,
  "dmesg --color=always": (L) => `${ESC}[32m[   58.257433] ${ESC}[0m${ESC}[33m${L} ${ESC}[0m`,
  "/dev/kmsg": (L, i) => `4,${5072 + i},12943291797,-;${L}`,
  PRINTK_CALLER: (L) => `[   58.257433][ T1234] ${L}`,
  "PRINTK_CALLER, apart": (L) => `[   58.257433] [  T1234] ${L}`,
  journalctl: (L) => `Dec 14 06:35:48 host1 kernel: ${L}`,
  "journalctl -o short-precise": (L) => `Dec 14 06:35:48.545439 host1 kernel: ${L}`,
  "journalctl -o short-monotonic": (L) => `[   26.657785] host1 kernel: ${L}`,
  "journalctl -o short-full": (L) => `Tue 2021-12-14 06:35:48 UTC host1 kernel: ${L}`,
  "journalctl -o short-iso": (L) => `2021-12-14T06:35:48+0000 host1 kernel: ${L}`,
  "syslog with the kernel's time": (L) => `Dec 14 06:35:48 host1 kernel: [   58.257433] ${L}`,
  "a continuation line": (L) => `               ${L}`,
  "GitHub Actions": (L) => `2023-01-01T00:00:00.1234567Z [   58.257433] ${L}`,
  "docker compose": (L) => `vm-1  | [   58.257433] ${L}`,
  mail: (L) => `> > [   58.257433] ${L}`,
  "a mail without times": (L) => `>> ${L}`,
  "a commit message": (L) => `    ${L}`,
  "an issue": (L) => `\t${L}`,
  "leading spaces lost": (L) => L.trimStart(),
  "a terminal's capture": (L) => `${L}^M`,
  Jenkins: (L) => `[2024-01-02T03:04:05.123Z] [   58.257433] ${L}`,
  "a console's time": (L) => `[2024-01-02 03:04:05] [   58.257433] ${L}`,
  GitLab: (L) => `2024-01-02T03:04:05.123456Z 01O [   58.257433] ${L}`,
  "a runner's time and level": (L) => `2024-01-02T03:04:05.123456 <4>[   58.257433] ${L}`,
  "a test framework": (L) => `[stdlog] 2024-01-02 03:04:05,123 DEBUG| [   58.257433] ${L}`,
  "a serial console's name": (L) => `serial0: [   58.257433] ${L}`,
  logcat: (L) => `01-02 03:04:05.123  0  0 W kernel: [   58.257433] ${L}`,
  "a patch": (L) => `+[   58.257433] ${L}`,
  "MediaTek's kernel": (L) => `[   58.257433] (1)[217:kworker/u8:1]${L}`,
  "syslog with a level": (L) => `Dec 14 06:35:48 host1 kernel: warning: ${L}`,
  "syslog with a pid": (L) => `Dec 14 06:35:48 host1 kernel[1]: ${L}`,
  "BusyBox syslogd": (L) => `Dec 14 06:35:48 host1 kern.warn kernel: ${L}`,
  "syslog (RFC 5424)": (L) => `<4>1 2024-01-02T03:04:05.123456Z host1 kernel - - - ${L}`,
  "journalctl -o json": (L) => JSON.stringify({ _TRANSPORT: "kernel", MESSAGE: L }),
  "a container's log": (L) => JSON.stringify({ log: `[   58.257433] ${L}\n`, stream: "stdout" }),
  "CR LF": (L) => `${L}\r`,
};

const explained = (log: string): string[] =>
  parseKernelLog(log).map((one) => explainSplat({ ...one, line: 0, again: [] }));

describe("the forms in which a kernel's line reaches people", () => {
  const bare = explained(REPORTS.join("\n"));

  it.each(Object.entries(FORMS))("%s explains the same as the bare line", (_, form) => {
    expect(bare).toHaveLength(REPORTS.length);
    expect(explained(REPORTS.join("\n").split("\n").map(form).join("\n"))).toEqual(bare);
  });

  it("a page's source: HTML's entities", () => {
    const escaped = REPORTS.join("\n")
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;");
    expect(explained(escaped)).toEqual(bare);
  });

  it("lines that end with nothing but CR", () => {
    expect(explained(REPORTS.join("\r"))).toEqual(bare);
  });

  it("any report in any mix of forms explains the same as bare", () => {
    const forms = Object.values(FORMS);
    const report = fc.integer({ min: 0, max: REPORTS.length - 1 });
    const choices = fc.array(fc.integer({ min: 0, max: forms.length - 1 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(report, choices, (n, chosen) => {
        const lines = REPORTS[n]!.split("\n").map((L, i) => forms[chosen[i % chosen.length]!]!(L, i));
        expect(explained(lines.join("\n"))).toEqual([bare[n]]);
      }),
    );
  });

  it("a syslog's #012 and a kmsg's \\x0a are ends of lines within a message", () => {
    const lines = REPORTS[5]!.split("\n");
    const joined = (end: string, prefix: string): string =>
      lines.map((L, i) => (i % 3 === 0 ? `${i === 0 ? "" : "\n"}${prefix}${L}` : `${end}${L}`)).join("");
    expect(explained(joined("#012", "Dec 14 06:35:48 host1 kernel: "))).toEqual([bare[5]]);
    expect(explained(joined("\\x0a", "4,1,2,-;"))).toEqual([bare[5]]);
  });
});

describe("reports of two processors among each other", () => {
  const [a, b] = [REPORTS[4]!.split("\n"), REPORTS[5]!.split("\n")];
  const zip = (first: readonly string[], second: readonly string[]): string =>
    Array.from({ length: Math.max(first.length, second.length) }, (_, i) => [first[i], second[i]])
      .flat()
      .filter((line) => line !== undefined)
      .join("\n");

  it("are told apart by their callers", () => {
    const by = (caller: string) => (L: string) => `[   58.257433][ ${caller}] ${L}`;
    expect(explained(zip(a.map(by("T1234")), b.map(by("   C0"))))).toEqual(
      expect.arrayContaining(explained(a.join("\n")).concat(explained(b.join("\n")))),
    );
    expect(parseKernelLog(zip(a.map(by("T1234")), b.map(by("   C0"))))).toHaveLength(2);
  });

  it("without callers are said to be mixed, and no report is made of them", () => {
    const splats = parseKernelLog(zip(a, b));
    expect(splats.map(({ status, problem }) => [status, problem])).toEqual([
      ["mixed", undefined],
      ["mixed", undefined],
    ]);
    expect(explainSplat(splats[1]!)).toContain("lines of two reports stand among each other");
  });

  it("of two sorts, the second within the first, are said to be mixed", () => {
    const irq = REPORTS[2]!.split("\n");
    const inner = [...a.slice(0, 14), ...irq.slice(1, 12), ...a.slice(14), ...irq.slice(12)];
    expect(parseKernelLog(inner.join("\n")).map(({ status }) => status)).toEqual(["mixed", "mixed"]);
  });
});

describe("what a log can do to a terminal", () => {
  it("no control character of the log gets into text, picture or JSON", () => {
    const evil = REPORTS[0]!
      .replaceAll("task-ba", `task${ESC}]0;title\x07\u202eba`)
      .replaceAll("(b)", `(b\x9b2J)`);
    const [one] = parseKernelLog(evil);
    expect(one!.status).toBe("explained");
    expect(explainSplat(one!)).toContain("task\\x1b]0;title\\x07\\u{202e}ba/36");
    expect(explainSplat(one!) + JSON.stringify(one)).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  });
});
