import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** A program of this folder's, in a process that can be killed. */
export class Program implements AsyncDisposable {
  #stdout = "";
  #stderr = "";
  readonly #ended: Promise<string | number>;

  private constructor(
    private readonly child: ChildProcess,
    private readonly name: string,
  ) {
    this.#ended = once(child, "close").then(([code, signal]) => (signal ?? code) as string | number);
    child.stdout!.on("data", (bytes: Buffer) => (this.#stdout += bytes.toString()));
    child.stderr!.on("data", (bytes: Buffer) => (this.#stderr += bytes.toString()));
  }

  static start(name: string, ...args: readonly string[]): Program {
    const path = fileURLToPath(new URL(`programs/${name}.js`, import.meta.url));
    return new Program(spawn(process.execPath, [path, ...args], { stdio: ["ignore", "pipe", "pipe"] }), name);
  }

  /** @returns what it has said after "ready" */
  async ready(): Promise<string> {
    for (;;) {
      const said = /^ready ?(.*)$/m.exec(this.#stdout);
      if (said) return said[1]!;
      const over = await Promise.race([
        once(this.child.stdout!, "data").then(() => false),
        this.#ended.then(() => true),
      ]);
      if (over) throw new Error(`${this.name} ended before it was ready:\n${this.#stdout}\n${this.#stderr}`);
    }
  }

  /** By SIGKILL; `dead` tells when the kernel has closed all that it had. */
  kill(): void {
    this.child.kill("SIGKILL");
  }

  /** @returns the signal that killed it, or its exit code */
  get dead(): Promise<string | number> {
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#ended;
  }
}
