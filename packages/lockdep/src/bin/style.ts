/**
 * Marks a colour in text that `Output` has yet to print. What a peer or a file says is printed with its escapes made
 * visible, and cannot tell this process's mark.
 */
const MARK = `\ufdd0${crypto.randomUUID()}:`;
const MARKED = new RegExp(`${MARK}(\\d+)\ufdd1`, "g");

/** Colours where somebody can see them: on a terminal, unless NO_COLOR is set (https://no-color.org). */
export class Style {
  private constructor(private readonly on: boolean) {}

  static of(stream: { readonly isTTY?: boolean }): Style {
    return new Style(stream.isTTY === true && !process.env["NO_COLOR"]);
  }

  readonly bold = (text: string) => this.paint(1, 22, text);
  readonly dim = (text: string) => this.paint(2, 22, text);
  readonly red = (text: string) => this.paint(31, 39, text);
  readonly green = (text: string) => this.paint(32, 39, text);
  readonly yellow = (text: string) => this.paint(33, 39, text);
  readonly cyan = (text: string) => this.paint(36, 39, text);

  private paint(start: number, end: number, text: string): string {
    return this.on && text !== "" ? `${MARK}${start}\ufdd1${text}${MARK}${end}\ufdd1` : text;
  }
}

/** Has a terminal show the colours of `Style`. */
export function coloured(text: string): string {
  return text.replaceAll(MARKED, "\x1b[$1m");
}
