import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { describe } from "vitest";
import { scratch } from "../vfiokit.js";

/** A Redis server of our own: on a socket in a directory of its own, and nothing is kept. */
export class RedisServer implements AsyncDisposable {
  readonly url: string;

  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: ReturnType<typeof scratch>,
    readonly socket: string,
  ) {
    this.url = `unix://${socket}`;
  }

  static async start(): Promise<RedisServer> {
    const folder = scratch();
    const socket = folder.file("redis.sock");
    const options = { port: "0", unixsocket: socket, save: "", appendonly: "no", dir: folder.path };
    const child = spawn(
      "redis-server",
      Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]),
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const told: string[] = [];
    for await (const line of createInterface(child.stdout)) {
      told.push(line);
      if (!line.includes("eady to accept connections")) continue;
      child.stdout.resume();
      return new RedisServer(child, folder, socket);
    }
    throw new Error(`redis-server ended:\n${told.join("\n")}`);
  }

  client(): Redis {
    return new Redis({ path: this.socket, maxRetriesPerRequest: null });
  }

  async keys(): Promise<string[]> {
    const redis = this.client();
    const keys = await redis.keys("*");
    redis.disconnect();
    return keys.sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, "exit");
    this.folder[Symbol.dispose]();
  }
}

/**
 * `describe` for tests with a Redis server: skipped, with one line that says why, where there is none; an error there
 * when VFIOKIT_REQUIRE_REDIS=1, as in CI.
 */
export function describeWithRedis(name: string, body: () => void): void {
  const missing = spawnSync("redis-server", ["--version"]).status !== 0;
  if (!missing) describe(name, body);
  else if (process.env["VFIOKIT_REQUIRE_REDIS"] === "1")
    throw new Error("VFIOKIT_REQUIRE_REDIS=1, but there is no redis-server");
  else {
    process.stderr.write(`skipped: ${name}: no redis-server (Debian: apt install redis-server)\n`);
    describe.skip(name, body);
  }
}
