import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of its own, removed at the end of the scope with all that is in it. */
export function scratch(): Disposable & { readonly path: string; file(name: string): string } {
  const path = mkdtempSync(join(tmpdir(), "vfiokit-admin-"));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true }),
  };
}

/** An administrator who sends what he likes: Node's own socket, with none of our code in between. */
export class RawAdmin implements Disposable {
  readonly socket: Socket;
  #received = "";
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(path: string) {
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.setEncoding("utf8");
    this.socket.on("data", (text: string) => {
      this.#received += text;
      this.#wake();
    });
    this.socket.on("end", () => this.#onEnd());
    this.socket.on("error", () => this.#onEnd());
    this.socket.on("close", () => this.#onEnd());
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** The next line that the server sends, or undefined at the end. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#received.indexOf("\n");
      if (end >= 0) {
        const line = this.#received.slice(0, end);
        this.#received = this.#received.slice(end + 1);
        return line;
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The next reply, parsed. */
  async reply(): Promise<unknown> {
    const line = await this.line();
    return line === undefined ? undefined : JSON.parse(line);
  }

  ask(request: unknown): Promise<unknown> {
    this.send(`${JSON.stringify(request)}\n`);
    return this.reply();
  }

  /** Closes it at once. */
  hangUp(): void {
    this.socket.destroy();
  }

  [Symbol.dispose](): void {
    this.hangUp();
  }

  #onEnd(): void {
    this.#ended = true;
    this.#wake();
  }
}
