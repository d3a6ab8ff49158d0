import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { within } from "./wait.js";

/** How much of a program's output is kept for error messages. */
const TAIL = 16_384;

/**
 * A program that a test starts and always ends: the kernel kills it when the test's own process dies,
 * however that happens, and errors about it carry what it printed last.
 */
export class Child {
  output = "";
  /** Resolves with what ended it: an exit code or a signal's name. */
  readonly ended: Promise<number | string>;
  private readonly process: ChildProcess;
  private end: number | string | undefined;
  private readonly listeners = new Set<() => void>();

  constructor(
    readonly name: string,
    command: readonly string[],
  ) {
    this.process = spawn("setpriv", ["--pdeathsig", "KILL", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.process.stdout!, this.process.stderr!]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        this.output = (this.output + text).slice(-TAIL);
        for (const listener of this.listeners) listener();
      });
    }
    this.ended = once(this.process, "close").then(([code, signal]: unknown[]) => {
      this.end = (code ?? signal) as number | string;
      return this.end;
    });
  }

  get pid(): number {
    return this.process.pid!;
  }

  get running(): boolean {
    return this.end === undefined;
  }

  /** Sends a signal and waits for the end. Does nothing to a program that has ended. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | string> {
    if (this.running) this.process.kill(signal);
    return this.ended;
  }

  /** Waits until the program has printed something of this form. */
  async printed(form: RegExp, seconds = 30): Promise<RegExpExecArray> {
    let listener!: () => void;
    const match = new Promise<RegExpExecArray>((resolve) => {
      listener = () => {
        const found = form.exec(this.output);
        if (found) resolve(found);
      };
    });
    this.listeners.add(listener);
    listener();
    try {
      const event = Promise.race([match, this.untilEnd(`it should print ${form.source}`)]);
      return await within(seconds, event, () => `${this.name} should print ${form.source}\n${this.output}`);
    } finally {
      this.listeners.delete(listener);
    }
  }

  /** Rejects when the program ends: for a wait to race with, while something is still expected of it. */
  untilEnd(doing: string): Promise<never> {
    const failure = this.ended.then((end): never => {
      throw new Error(`${this.name} ended (${end}) while ${doing}; it printed:\n${this.output}`);
    });
    // A program that ends later, when nobody waits any more, is no unhandled rejection.
    failure.catch(() => undefined);
    return failure;
  }
}
