/** What commands print: all of it, and nothing else of them touches standard output and standard error. */

import type { Writable } from "node:stream";
import { visible } from "../visible/index.js";
import { coloured, Style } from "./style.js";

/** Back to the start of the line, and empty it. */
const CLEAR_LINE = "\r\x1b[K";

/**
 * Standard output or standard error. Names, messages and paths come from files, from peers and from devices: whatever
 * steers a terminal is shown as an escape. After a failed write (a full disk, a reader that has gone) nothing more is
 * written: a server goes on without, and the command ends with exit code 1.
 */
export class Output {
  #failure: Error | undefined;

  /**
   * @param get the stream; made by Node when it is first asked for
   * @param onFailure called once
   */
  constructor(
    private readonly get: () => Writable & { readonly isTTY?: boolean },
    private readonly onFailure: (error: Error) => void,
  ) {}

  get isTTY(): boolean {
    return this.get().isTTY === true;
  }

  get style(): Style {
    return Style.of(this.get());
  }

  /** For what draws by itself. It must not print text from outside. */
  get stream(): Writable {
    return this.get();
  }

  /** Why what was said is not there; undefined: it is. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Prints a line each; a newline in one is shown, too, so that nothing can pass for a line of ours. */
  lines(lines: readonly string[]): void {
    this.#write(lines.map((line) => `${shown(line).replaceAll("\n", "\\n")}\n`).join(""));
  }

  line(line: string): void {
    this.lines([line]);
  }

  /** Prints text of several lines as it is. */
  text(text: string): void {
    this.#write(shown(text));
  }

  /** Prints a value as JSON. @param indent spaces; 0: one line */
  json(value: unknown, indent = 0): void {
    this.#write(`${printableJson(JSON.stringify(value, null, indent))}\n`);
  }

  /** One line on a terminal, rewritten by the next; nothing anywhere else. */
  progress(line: string): void {
    if (this.isTTY) this.#write(CLEAR_LINE + shown(line).replaceAll("\n", "\\n"));
  }

  clearProgress(): void {
    if (this.isTTY) this.#write(CLEAR_LINE);
  }

  /** Settles when all that was printed has been written, or cannot be. */
  flushed(): Promise<void> {
    if (this.#failure) return Promise.resolve();
    return new Promise((resolve) => {
      this.get().write("", (error) => {
        if (error) this.#fail(error);
        resolve();
      });
    });
  }

  #write(text: string): void {
    if (this.#failure) return;
    const stream = this.get();
    // Without a listener Node throws it, from nowhere.
    if (!stream.listeners("error").includes(this.#fail)) stream.on("error", this.#fail);
    stream.write(text, (error) => {
      if (error) this.#fail(error);
    });
  }

  readonly #fail = (error: Error): void => {
    if (this.#failure) return;
    this.#failure = error;
    this.onFailure(error);
  };
}

/** Safe to show, in the colours that it was given here. */
export function shown(text: string): string {
  return coloured(visible(text));
}

/** The same JSON, in characters that steer no terminal: JSON itself escapes only those below a space. */
export function printableJson(json: string): string {
  return json.replace(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

/** Standard error: what went wrong, and how far it is. */
export const err = new Output(
  () => process.stderr,
  () => undefined,
);

/** Standard output: what a command was asked for. */
export const out = new Output(
  () => process.stdout,
  (error) => err.line(`${err.style.red("error:")} standard output: ${error.message}`),
);
