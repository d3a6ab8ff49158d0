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
    prefix: /^[A-Z][a-z]{2} [ \d]\d [\d:]{8}(?:\.\d+)? \S+ kernel: ?/,
  },
  {
    from: "journalctl -o short-full",
    prefix: /^[A-Z][a-z]{2} \d{4}-\d\d-\d\d [\d:]{8}(?:\.\d+)? \S+ \S+ kernel: ?/,
  },
  { from: "journalctl -o short-monotonic", prefix: /^\[ *\d+\.\d+\] \S+ kernel: ?/ },
  { from: "journalctl -o short-iso", prefix: new RegExp(`^${ISO} \\S+ kernel: ?`) },
  { from: "dmesg --time-format iso", prefix: new RegExp(`^${ISO} `) },
  { from: "dmesg -x", prefix: /^[a-z]+\d? *:[a-z]+ *: ?(?=\[)/ },
  { from: "/dev/kmsg, pstore", prefix: /^\d+,\d+,\d+,[-c+](?:,caller=(?<caller>[TC]\d+))?[^;]*;/ },
  { from: "dmesg --raw, a CI's dmesg", prefix: /^<\d+> ?/ },
  { from: "dmesg, PRINTK_CALLER", prefix: new RegExp(`^\\[ *\\d+\\.\\d+\\]${CALLER} ?`) },
  {
    from: "dmesg -T",
    prefix: new RegExp(`^\\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \\d]\\d [\\d:]{8} \\d{4}\\]${CALLER} ?`),
  },
  { from: "times left out by hand", prefix: /^\[\.\.\.\] ?/ },
];

/** Colours and other sequences of a terminal: ESC [ … letter. */
const TERMINAL = new RegExp(`${String.fromCharCode(27)}\\[[0-?]*[ -/]*[@-~]`, "g");
/** The ends of lines: CR LF, a terminal's capture of it, both. */
const LINE_END = /(?:\r|\^M)+$/;
/** rsyslog writes a newline within a message as #012, /dev/kmsg as \x0a. */
const NEWLINE_IN_MESSAGE = /#012|\\x0a/;

/** The lines of a log, in whichever forms they come, mixed as they may be. */
export function logLines(log: string): LogLine[] {
  const read = log.split("\n").map((raw) => strip(raw.replace(TERMINAL, "").replace(LINE_END, "")));
  // A line without a caller goes on with the message before it: printk gives a message's later lines no prefix.
  let caller = read.find((line) => line.caller !== undefined)?.caller;
  return read.flatMap((line, i) => {
    caller = line.caller ?? caller;
    return line.text
      .split(NEWLINE_IN_MESSAGE)
      .map((text) => ({ text: visible(text).trim(), number: i + 1, caller }));
  });
}

function strip(line: string): { text: string; caller: string | undefined } {
  let text = line;
  let caller: string | undefined;
  for (let found: Form | undefined; ;) {
    found = [...CARRIERS, ...KERNEL].find(({ prefix }) => prefix.test(text));
    if (!found) return { text, caller };
    const match = found.prefix.exec(text)!;
    caller = match.groups?.["caller"] ?? caller;
    text = text.slice(match[0].length);
  }
}
