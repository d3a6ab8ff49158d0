/**
 * Text of unknown origin (a kernel log, a file's name), safe to print: characters that steer a terminal or turn the
 * direction of writing are shown as escapes. A newline and a tab stay.
 */
export function visible(text: string): string {
  return text.replace(/(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}
