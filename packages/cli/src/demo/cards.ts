import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { CommandError } from "../errors.js";

const BIN = fileURLToPath(new URL("../../bin/vfiokit.js", import.meta.url));

/** A card in a process of its own: what `vfiokit serve serial` starts. */
export class CardProcess implements AsyncDisposable {
  private readonly ended: Promise<unknown>;

  private constructor(
    private readonly child: ChildProcess,
    /** Where clients connect. */
    readonly socket: string,
    /** Where the far end of the line connects. */
    readonly line: string,
  ) {
    this.ended = once(child, "exit");
  }

  /** Starts it and waits until it serves. `directory` is where its sockets go. */
  static async start(name: string, directory: string): Promise<CardProcess> {
    const socket = join(directory, `${name}.sock`);
    const line = join(directory, `${name}.tty`);
    const args = ["serve", "serial", "--socket-path", socket, "--chardev", `unix:${line}`];
    const child = spawn(process.execPath, [BIN, ...args, "--json", "--log-level", "warn"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    process.once("exit", () => child.kill());
    const ready = once(createInterface(child.stdout), "line");
    const failed = once(child, "exit").then(([code]) => {
      throw new CommandError(`card ${name}: its server ended with exit code ${String(code)}`);
    });
    await Promise.race([ready, failed]);
    failed.catch(() => undefined); // from here on it may end
    return new CardProcess(child, socket, line);
  }

  get pid(): number {
    return this.child.pid!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGTERM");
    if (this.child.exitCode === null) await this.ended;
  }
}

/** Whoever sits at the other end of a card's line. */
export class FarEnd implements Disposable {
  private text = Buffer.alloc(0);
  private wake: () => void = () => undefined;

  private constructor(private readonly socket: Socket) {
    socket.on("data", (bytes: Buffer) => {
      this.text = Buffer.concat([this.text, bytes]);
      this.wake();
    });
    socket.on("error", () => undefined);
  }

  static async connect(line: string): Promise<FarEnd> {
    const socket = connect(line);
    await once(socket, "connect");
    return new FarEnd(socket);
  }

  type(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  /** The next `count` bytes that the card sends. */
  async read(count: number): Promise<Buffer> {
    while (this.text.length < count) await new Promise<void>((resolve) => (this.wake = resolve));
    const bytes = this.text.subarray(0, count);
    this.text = this.text.subarray(count);
    return bytes;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
