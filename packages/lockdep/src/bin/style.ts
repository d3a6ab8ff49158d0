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
    return this.on && text !== "" ? `\x1b[${start}m${text}\x1b[${end}m` : text;
  }
}
