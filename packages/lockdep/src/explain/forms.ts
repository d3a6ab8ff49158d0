import { visible } from "../visible/index.js";

/** A line as the kernel meant it: without what carried it here, and without its indentation, which mails lose. */
export interface LogLine {
  readonly text: string;
  /** Its line in the log, from 1. */
  readonly number: number;
  /** "T1234" or "C0" (CONFIG_PRINTK_CALLER): the task or the processor that printed it. */
  readonly caller: string | undefined;
}

interface Form {
  readonly from: string;
  /** At the beginning of a line; a group named "caller" is who printed it. */
  readonly prefix: RegExp;
}

const ISO = String.raw`\d{4}-\d\d-\d\dT[\d:]{8}(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)`;
/** Who says it in a syslog: the kernel, by its severity in some. */
const KERNEL_SAYS = String.raw`kernel(?:\[\d+\])?: ?(?:(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug): )?`;
const CALLER = String.raw`(?: ?\[ *(?<caller>[TC]\d+)\])?`;

/** What can stand around a line that a kernel's log already has: these wrap those of KERNEL. */
const CARRIERS: readonly Form[] = [
  { from: "GitHub Actions", prefix: /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{7}Z / },
  { from: "docker compose", prefix: /^[\w.]+(?:-[\w.]+)*-\d+ +\| ?/ },
  { from: "mail", prefix: /^(?:[>|] ?)+/ },
  { from: "an answer to a mail, indented", prefix: /^\s+(?:> ?)+/ },
  { from: "a prompt on the serial console", prefix: /^\S+ login: (?=\[)/ },
];

const KERNEL: readonly Form[] = [
  {
    from: "journalctl -o short, short-precise, syslog",
    prefix: new RegExp(
      String.raw`^[A-Z][a-z]{2} [ \d]\d [\d:]{8}(?:\.\d+)? \S+ (?:kern\.\w+ )?${KERNEL_SAYS}`,
    ),
  },
  {
    from: "journalctl -o short-full",
    prefix: new RegExp(String.raw`^[A-Z][a-z]{2} \d{4}-\d\d-\d\d [\d:]{8}(?:\.\d+)? \S+ \S+ ${KERNEL_SAYS}`),
  },
  {
    from: "journalctl -o short-monotonic",
    prefix: new RegExp(String.raw`^\[ *\d+\.\d+\] \S+ ${KERNEL_SAYS}`),
  },
  { from: "journalctl -o short-iso", prefix: new RegExp(`^${ISO} \\S+ ${KERNEL_SAYS}`) },
  {
    from: "syslog (RFC 5424)",
    prefix: new RegExp(`^<\\d+>1 ${ISO} \\S+ kernel \\S+ \\S+ (?:-|\\[.*?\\]) ?`),
  },
  { from: "dmesg --time-format iso", prefix: new RegExp(`^${ISO} `) },
  { from: "dmesg -x", prefix: /^[a-z]+\d? *:[a-z]+ *: ?(?=\[)/ },
  { from: "/dev/kmsg, pstore", prefix: /^\d+,\d+,\d+,[-c+](?:,caller=(?<caller>[TC]\d+))?[^;]*;/ },
  { from: "dmesg --raw, a CI's dmesg", prefix: /^<\d+> ?/ },
  { from: "dmesg, PRINTK_CALLER", prefix: new RegExp(`^\\[ *\\d+\\.\\d+\\]${CALLER} ?`) },
  {
    from: "dmesg -T",
    prefix: new RegExp(`^\\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \\d]\\d [\\d:]{8} \\d{4}\\]${CALLER} ?`),
  },
  { from: "MediaTek: the processor and the task", prefix: /^ ?\(\d+\)\[\d+:[^\]]+\] ?/ },
  { from: "times left out by hand", prefix: /^\[\.\.\.\] ?/ },
];

/** Colours and other sequences of a terminal: ESC [ … letter. */
const TERMINAL = new RegExp(`${String.fromCharCode(27)}\\[[0-?]*[ -/]*[@-~]`, "g");
/** The ends of lines: CR LF, a terminal's capture of it, both. */
const LINE_END = /(?:\r|\^M)+$/;
/** rsyslog writes a newline within a message as #012, /dev/kmsg as \x0a. */
const NEWLINE_IN_MESSAGE = /#012|\\x0a/;

/** The kernel's own time: whatever stands before it is of those who carried the line here (Jenkins, GitLab, logcat …). */
const KERNEL_TIME = /(?<=^.{1,80}?)\[ *\d+\.\d{6}\]/;

/** The lines of a log, in whichever forms they come, mixed as they may be. */
export function logLines(log: string): LogLine[] {
  // An old terminal's capture has nothing but CR.
  const lines = (log.includes("\n") ? log : log.replaceAll("\r", "\n")).split("\n");
  const asHtml = /-&gt; #\d|&amp;[\w(]/.test(log);
  const read = lines.map((raw) => {
    const line = messageOf(raw.replace(TERMINAL, "").replace(LINE_END, ""));
    return strip(asHtml ? unescaped(line) : line);
  });
  // A line without a caller goes on with the message before it: printk gives a message's later lines no prefix.
  let caller = read.find((line) => line.caller !== undefined)?.caller;
  return read.flatMap((line, i) => {
    caller = line.caller ?? caller;
    return line.text
      .split(NEWLINE_IN_MESSAGE)
      .map((text) => ({ text: visible(text).trim(), number: i + 1, caller }));
  });
}

/** journalctl -o json and containers' logs have an object a line. */
function messageOf(line: string): string {
  if (!/^\s*\{"/.test(line)) return line;
  try {
    const { MESSAGE, log, message } = JSON.parse(line) as Record<string, unknown>;
    const text = [MESSAGE, log, message].find((each) => typeof each === "string");
    return text?.trimEnd() ?? line;
  } catch {
    return line;
  }
}

/** A page's source, or what was copied from a tracker that escapes twice. */
function unescaped(line: string): string {
  const named: Readonly<Record<string, string>> = {
    lt: "<",
    gt: ">",
    quot: '"',
    apos: "'",
    nbsp: " ",
    amp: "&",
  };
  return line.replace(
    /&(?:(lt|gt|quot|apos|nbsp|amp)|#(\d{1,6})|#x([0-9a-f]{1,5}));/gi,
    (all, name, decimal, hex) => {
      if (name !== undefined) return named[(name as string).toLowerCase()]!;
      const code = decimal === undefined ? parseInt(hex as string, 16) : Number(decimal);
      return code <= 0x10ffff ? String.fromCodePoint(code) : all;
    },
  );
}

function strip(line: string): { text: string; caller: string | undefined } {
  let text = line.slice(KERNEL_TIME.exec(line)?.index ?? 0);
  let caller: string | undefined;
  for (let found: Form | undefined; ;) {
    found = [...CARRIERS, ...KERNEL].find(({ prefix }) => prefix.test(text));
    if (!found) return { text, caller };
    const match = found.prefix.exec(text)!;
    caller = match.groups?.["caller"] ?? caller;
    text = text.slice(match[0].length);
  }
}
