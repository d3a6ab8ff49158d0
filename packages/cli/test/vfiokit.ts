import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Readable, Writable } from "node:stream";

const BIN = fileURLToPath(new URL("../bin/vfiokit.js", import.meta.url));

/** A directory of its own, removed at the end of the scope with all that is in it. */
export function scratch(): Disposable & { readonly path: string; file(name: string): string } {
  const path = mkdtempSync(join(tmpdir(), "vfiokit-"));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true }),
  };
}

/** The command as a child process. */
export class Vfiokit implements AsyncDisposable {
  stdout = "";
  stderr = "";
  /** Exit code, or the signal that killed it. */
  readonly ended: Promise<number | NodeJS.Signals>;

  private constructor(readonly child: ChildProcess) {
    child.stdout?.on("data", (bytes: Buffer) => (this.stdout += bytes.toString()));
    child.stderr?.on("data", (bytes: Buffer) => (this.stderr += bytes.toString()));
    this.ended = once(child, "close").then(
      ([code, signal]) => (code as number | null) ?? (signal as NodeJS.Signals),
    );
  }

  /** @param extra descriptors that the child gets from number 3 on */
  static start(args: readonly string[], extra: readonly number[] = []): Vfiokit {
    const stdio: StdioOptions = ["pipe", "pipe", "pipe", ...extra];
    return new Vfiokit(spawn(process.execPath, [BIN, ...args], { stdio }));
  }

  /** Runs it to its end. */
  static async run(...args: string[]): Promise<{ code: number | string; stdout: string; stderr: string }> {
    const command = Vfiokit.start(args);
    const code = await command.ended;
    return { code, stdout: command.stdout, stderr: command.stderr };
  }

  get stdin(): Writable {
    return this.child.stdin!;
  }

  /** Waits until its output matches. @throws Error when it ends before that */
  async says(pattern: RegExp, where: "stdout" | "stderr" = "stdout"): Promise<RegExpExecArray> {
    const stream = this.child[where] as Readable;
    for (;;) {
      const match = pattern.exec(this[where]);
      if (match) return match;
      const over = await Promise.race([once(stream, "data").then(() => false), this.ended.then(() => true)]);
      if (over && !pattern.test(this[where])) {
        throw new Error(`vfiokit ended before it said ${String(pattern)}:\n${this.stdout}\n${this.stderr}`);
      }
    }
  }

  kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals> {
    this.child.kill(signal);
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill("SIGKILL");
  }
}
