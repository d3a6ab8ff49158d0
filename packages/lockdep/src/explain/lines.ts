/**
 * What stands before the kernel's own text in a log: quoting of mails ("> ", "| "), a syslog's date and host, the
 * log level and the time of printk with its caller.
 */
const PREFIXES = [
  /^(?:[>|] ?)+/,
  /^(?:\d{4}-\d{2}-\d{2}T\S+ |[A-Z][a-z]{2} [ \d]\d [\d:]{8} )(?:\S+ )?/,
  /^kernel: ?/,
  /^<\d+>/,
  /^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?/,
];

/** The line as the kernel meant it, with the indentation that tells a stack's frames from other lines. */
export function plainLine(line: string): string {
  let plain = line.replace(/\r$/, "");
  for (const prefix of PREFIXES) plain = plain.replace(prefix, "");
  return plain;
}
