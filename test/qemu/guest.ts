import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { within } from "./wait.js";

export interface ShellResult {
  /** Exit status of the script; 137 when it was killed for taking too long. */
  readonly status: number;
  /** Standard output and standard error, interleaved. */
  readonly output: string;
}

/**
 * What a healthy kernel never prints: whatever a test was about, it fails when this shows up.
 */
const KERNEL_TROUBLE =
  /BUG:|Oops|WARNING:|Kernel panic|general protection fault|possible circular locking|possible recursive locking|INFO: task .* blocked|irq \d+: nobody cared|Call Trace/;

/** Lines of the console in an error message. */
const CONSOLE_LINES = 60;
const CONSOLE_SETTLES_MS = 500;

/**
 * The guest as a test sees it: a console to read and a shell to use.
 *
 * The shell is behind a virtio-serial port with framed answers (see guest/init), so that neither the
 * kernel's messages nor the output of a command can be mistaken for an answer.
 */
export class Guest {
  console = "";
  private received = Buffer.alloc(0);
  private boots = 0;
  private lastId = 0;
  private readonly watchers = new Set<() => void>();
  private queue: Promise<unknown> = Promise.resolve();

  constructor(
    console: Socket,
    private readonly channel: Socket,
    private readonly allowed: readonly RegExp[],
    /** What QEMU printed, for the message when it ends unexpectedly. */
    private readonly lastWords: () => string,
  ) {
    console.setEncoding("utf8");
    console.on("data", (text: string) => {
      this.console += text.replaceAll("\r", "");
      this.changed();
    });
    channel.on("data", (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.changed();
    });
    channel.on("close", () => this.changed());
  }

  /** Waits for a boot to end with init asking for commands. */
  async booted(seconds = 90): Promise<void> {
    await this.until(seconds, "the guest is booting", () => this.answer(/^ready \S+$/));
    this.boots++;
  }

  /**
   * Runs a script and returns what came of it. One runs at a time; others wait for their turn.
   *
   * @throws Error when the guest's kernel complains, the machine ends, or no answer comes in time
   */
  async sh(script: string, seconds = 30): Promise<ShellResult> {
    const turn = this.queue.then(() => this.run(script, seconds));
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  /** As {@link sh}, for scripts that must succeed: the output without the last line's end. */
  async ok(script: string, seconds = 30): Promise<string> {
    const { status, output } = await this.sh(script, seconds);
    if (status !== 0) throw new Error(`the guest's shell: status ${status} of\n${script}\n${output}`);
    return output.replace(/\n$/, "");
  }

  /** Starts a script that restarts the machine, and waits until it is up again. */
  async reboots(start: () => Promise<unknown>, seconds = 90): Promise<void> {
    const turn = this.queue.then(async () => {
      this.received = Buffer.alloc(0);
      await start();
      await this.booted(seconds);
    });
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  /** Sends a script whose answer never comes, since it ends the system that would give it. */
  sendOnly(script: string): void {
    this.channel.write(this.request(script, 60));
  }

  /** Fails when the kernel complained since the machine was started. */
  async assertHealthy(): Promise<void> {
    if (this.trouble() < 0) return;
    // The line that gives it away is followed by those that explain it.
    await delay(CONSOLE_SETTLES_MS);
    throw new Error(`the guest's kernel complains:\n${this.lines(this.trouble()).join("\n")}`);
  }

  /** The console line with the first complaint, or -1. */
  private trouble(): number {
    return this.console
      .split("\n")
      .findIndex((line) => KERNEL_TROUBLE.test(line) && !this.allowed.some((allowed) => allowed.test(line)));
  }

  private request(script: string, seconds: number): string {
    return `${++this.lastId} ${seconds} ${Buffer.from(`${script}\n`).toString("base64")}\n`;
  }

  private async run(script: string, seconds: number): Promise<ShellResult> {
    this.channel.write(this.request(script, seconds));
    const id = this.lastId;
    const header = new RegExp(`^${id} (\\d+) (\\d+)$`);
    // The guest itself ends a script that takes too long; more than that means that it hangs.
    const grace = seconds + 15;
    const result = await this.until(grace, `the guest runs\n${script}`, () => {
      const end = this.received.indexOf("\n");
      const match = header.exec(this.received.toString("latin1", 0, Math.max(end, 0)));
      if (!match) return undefined;
      const start = end + 1;
      const size = Number(match[2]);
      if (this.received.length < start + size) return undefined;
      const output = this.received.toString("utf8", start, start + size);
      this.received = this.received.subarray(start + size);
      return { status: Number(match[1]), output };
    });
    await this.assertHealthy();
    return result;
  }

  /** Takes one line off the channel when it has the form. */
  private answer(form: RegExp): true | undefined {
    const end = this.received.indexOf("\n");
    if (end < 0 || !form.test(this.received.toString("latin1", 0, end))) return undefined;
    this.received = this.received.subarray(end + 1);
    return true;
  }

  /** Resolves once `attempt` returns a value; asks again whenever the guest says something. */
  private async until<T>(seconds: number, doing: string, attempt: () => T | undefined): Promise<T> {
    let watcher!: () => void;
    const event = new Promise<T>((resolve, reject) => {
      watcher = () => {
        const value = attempt();
        if (value !== undefined) resolve(value);
        else if (this.trouble() >= 0) this.assertHealthy().catch(reject);
        else if (this.channel.destroyed)
          reject(new Error(`the machine ended while ${doing}\n${this.lastWords()}\n${this.tail()}`));
      };
    });
    this.watchers.add(watcher);
    try {
      watcher();
      return await within(seconds, event, () => `${doing}\n${this.tail()}`);
    } finally {
      this.watchers.delete(watcher);
    }
  }

  private changed(): void {
    for (const watcher of this.watchers) watcher();
  }

  /** The end of the console, for messages. */
  tail(): string {
    return `--- the guest's console ends with\n${this.lines(-CONSOLE_LINES).join("\n")}`;
  }

  private lines(start: number): string[] {
    return this.console.split("\n").slice(start).slice(0, CONSOLE_LINES);
  }
}
