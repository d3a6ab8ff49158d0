import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("programs/host.js", import.meta.url));

/** What a process holds, as it says itself. Bytes. */
export interface Measured {
  readonly heap: number;
  readonly rss: number;
  readonly fds: number;
  readonly mappings: number;
}

type Said = { ready: true } | { bug: string } | { measured: Measured };

/** Servers, and relays, in one process: programs/host.js. */
export class Host {
  /** Lines of its log that are errors, and the end of the process where there was one. */
  readonly bugs: string[] = [];
  readonly pid: number;
  #stderr = "";
  #closing = false;

  private constructor(private readonly child: ChildProcess) {
    this.pid = child.pid!;
    child.stderr!.on("data", (bytes: Buffer) => (this.#stderr += bytes.toString()));
    child.on("message", (said: Said) => {
      if ("bug" in said) this.bugs.push(said.bug);
    });
    child.on("close", (code, signal) => {
      if (!this.#closing)
        this.bugs.push(`the process ended: ${signal ?? `exit code ${code}`}\n${this.#stderr}`);
    });
  }

  /** @param served as "counter=/path", "relay=/path,/server" */
  static async start(served: readonly string[]): Promise<Host> {
    const child = fork(PROGRAM, served, { stdio: ["ignore", "ignore", "pipe", "ipc"], execArgv: [] });
    const host = new Host(child);
    await Promise.race([host.#said("ready"), once(child, "close")]);
    if (!host.alive) throw new Error(`the host did not start:\n${host.bugs.join("\n")}`);
    return host;
  }

  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async measure(): Promise<Measured> {
    const said = this.#said("measured");
    this.child.send("measure");
    const answer = await Promise.race([said, once(this.child, "close").then(() => undefined)]);
    if (!answer) throw new Error(this.bugs.join("\n"));
    return (answer as { measured: Measured }).measured;
  }

  /** What the kernel has open for it: descriptors by what they are of, maps of shared memory, all maps. */
  resources(): { readonly fds: readonly string[]; readonly shared: number; readonly maps: number } {
    const folder = `/proc/${this.pid}/fd`;
    const fds = readdirSync(folder).flatMap((number) => {
      try {
        return [readlinkSync(join(folder, number)).replace(/^socket:.*/, "socket")];
      } catch {
        return []; // closed since
      }
    });
    const maps = readFileSync(`/proc/${this.pid}/maps`, "latin1").trimEnd().split("\n");
    return {
      fds: fds.sort(),
      shared: maps.filter((line) => line.includes("memfd:")).length,
      maps: maps.length,
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (!this.alive) return;
    const over = once(this.child, "close");
    this.child.kill("SIGKILL");
    await over;
  }

  async #said(what: "ready" | "measured"): Promise<Said> {
    for (;;) {
      const [said] = (await once(this.child, "message")) as [Said];
      if (what in said) return said;
    }
  }
}

/** A folder for sockets, removed at the end of the scope. */
export function socketFolder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "vfiokit-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
