import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serveCard } from "./migrate/card.js";
import { Peer } from "./peers.js";
import { scratch, Vfiokit } from "./vfiokit.js";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const BIN = path("../bin/vfiokit.js");
const FAULTS = path("programs/failing-fs.js");
const PROTOCOL = path("../../../examples/vfio-reset.yaml");
const LOG = path("../../lockdep/test/explain/splats/vfio-ioctl-reset.log");

interface Ended {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in a shell's setting: limits, redirections. $0 is the command. */
async function shell(setting: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const child = spawn("bash", ["-c", setting, process.execPath, BIN, ...args], {
    env: { ...process.env, ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  return { code: code ?? signal!, stdout, stderr };
}

/** With faults of node:fs: programs/failing-fs.js. */
function faulty(args: readonly string[], at: string, code: string, on = "open"): Promise<Ended> {
  return shell(`exec "$0" --import ${FAULTS} "$@"`, args, { FAULT_PATH: at, FAULT_CODE: code, FAULT_ON: on });
}

/** One line that says what is wrong, and exit code 1. */
function expectOneLine({ code, stderr }: Ended, says: RegExp | string = /./, exit = 1): void {
  const lines = stderr.trimEnd().split("\n");
  // Those that go on tell it in their log.
  expect(lines).toEqual([expect.stringMatching(/^error: /)]);
  expect(stderr).toMatch(says);
  expect(code).toBe(exit);
}

describe(
  "a command that cannot do what it should says why in one line, and exits with 1",
  { timeout: 120_000 },
  () => {
    const dir = scratch();
    const at = (name: string) => dir.file(name);
    const card = at("card");
    let server: Vfiokit;

    beforeAll(async () => {
      mkdirSync(at("folder"));
      writeFileSync(at("regular"), "text");
      const killed = await serveCard(at("dead"));
      await killed.kill("SIGKILL");
      server = await serveCard(card);
      expect(await Vfiokit.run("save", card, at("image"), "--compression", "none")).toMatchObject({
        code: 0,
      });
    });
    afterAll(async () => {
      await server.kill("SIGTERM");
      dir[Symbol.dispose]();
    });

    /** What reads a file, with the file's place marked by FILE. */
    const readers: readonly string[][] = [
      ["stream", "FILE"],
      ["restore", "FILE", card],
      ["restore", "FILE", card, "--dry-run"],
      ["lockdep", "check", "FILE"],
      ["lockdep", "explain", "FILE"],
      ["lockdep", "explain", LOG, "--decode", "FILE"],
      ["lab", "check", "FILE"],
      ["migrate", card, "tls://127.0.0.1:9", "--cert", "FILE", "--key", PROTOCOL, "--ca", PROTOCOL],
      [
        "receive",
        "--listen",
        "tls://127.0.0.1:0",
        "--to",
        `c=${card}`,
        "--cert",
        "FILE",
        "--key",
        LOG,
        "--ca",
        LOG,
      ],
    ];
    const withFile = (args: readonly string[], file: string) =>
      args.map((word) => (word === "FILE" ? file : word));

    it.each(readers.map((args) => [args]))(
      "reads: a directory, nothing, EACCES, EIO, EMFILE: %s",
      async (args) => {
        expectOneLine(await Vfiokit.run(...withFile(args, at("folder"))));
        if (args[0] === "stream") expectOneLine(await Vfiokit.run(...withFile(args, at("absent"))), "ENOENT");
        if (args.includes("--decode")) return; // nm reads it
        for (const code of args[0] === "stream" ? ["EACCES", "EIO", "EMFILE"] : ["EACCES"])
          expectOneLine(await faulty(withFile(args, at("image")), at("image"), code), code);
      },
      60_000,
    );

    it.each([["migrate"], ["lockdep"]])(
      "reads: what is no text, and what is no certificate: %s",
      async (command) => {
        const args = readers.find((reader) => reader[0] === command)!;
        expectOneLine(await Vfiokit.run(...withFile(args, at("image"))));
      },
    );

    /** What writes a file. */
    const writers: readonly string[][] = [
      ["save", card, "FILE", "--compression", "none"],
      ["lab", "run", "--scenario", "quick", "--design", "generation", "--html", "FILE"],
      ["serve", "serial", "--socket-path", at("s"), "--chardev", "file:FILE"],
    ];
    const inPath = (args: readonly string[], file: string) => args.map((word) => word.replace("FILE", file));

    it.each(writers.map((args) => [args]))(
      "writes: a directory, no folder, EACCES, EROFS: %s",
      async (args) => {
        // What can be seen before anything was done is wrong usage where the command looks for it.
        const early = args.includes("--html") ? 2 : 1;
        expectOneLine(await Vfiokit.run(...inPath(args, at("folder"))), /./, early);
        expectOneLine(await Vfiokit.run(...inPath(args, `${dir.path}/no/folder`)), /./, early);
        const on = args.includes("--html") ? "write" : "open";
        expectOneLine(await faulty(inPath(args, at("new")), "new", "EACCES", on), "EACCES");
      },
      60_000,
    );

    it.each(["write", "sync"])("save: the disk is full, or fails, at %s; nothing is left", async (on) => {
      const saving = faulty(["save", card, at("new"), "--compression", "none"], "new", "ENOSPC", on);
      expectOneLine(await saving, /new: ENOSPC/);
      const { stdout } = await shell(`ls -A ${dir.path}`, []);
      expect(stdout).not.toMatch(/new/);
    });

    it("save: a file may not be that large (EFBIG), and SIGXFSZ is no end", async () => {
      const saving = shell(`ulimit -f 100; exec "$0" "$@"`, [
        "save",
        card,
        at("new"),
        "--compression",
        "none",
      ]);
      expectOneLine(await saving, /new: EFBIG/);
    });

    const talkers: readonly string[][] = [
      ["info", "SOCKET"],
      ["ctl", "SOCKET", "info"],
      ["save", "SOCKET", at("new")],
      ["restore", at("image"), "SOCKET"],
      ["migrate", "SOCKET", card],
      ["migrate", card, "SOCKET"],
    ];
    it.each(talkers.map((args) => [args]))(
      "connects to a directory, a file, nobody, too long a path: %s",
      async (args) => {
        for (const socket of [
          "folder",
          "dead",
          ...(args[0] === "info" ? ["regular", "absent", "x".repeat(200)] : []),
        ])
          expectOneLine(await Vfiokit.run(...args.map((word) => (word === "SOCKET" ? at(socket) : word))));
      },
      60_000,
    );

    const listeners: readonly string[][] = [
      ["serve", "memory-card", "--socket-path", "SOCKET"],
      ["serve", "serial", "--socket-path", at("s"), "--chardev", "unix:SOCKET"],
      ["relay", "--connect", card, "--listen", "SOCKET"],
    ];
    it.each(listeners.map((args) => [args]))(
      "listens at a directory, a file, a long path, in no folder: %s",
      async (args) => {
        for (const socket of [at("regular"), at("x".repeat(200)), `${dir.path}/no/such`])
          expectOneLine(await Vfiokit.run(...args.map((word) => word.replace("SOCKET", socket))));
      },
      60_000,
    );

    const speakers: readonly string[][] = [
      ["--version"],
      ["--help"],
      ["info", card],
      ["info", card, "--json"],
      ["ctl", card, "info"],
      ["ctl", card, "info", "--json"],
      ["stream", at("image")],
      ["lockdep", "check", PROTOCOL],
      ["lockdep", "check", PROTOCOL, "--json"],
      ["lockdep", "explain", LOG],
      ["lab", "list"],
      ["lab", "check", PROTOCOL, "--scenario", "ioctl-reset, callback after memory_lock"],
      ["migrate", card, card, "--dry-run", "--json"],
    ];
    it.each(speakers.map((args) => [args]))(
      "a full standard output, and one that nobody reads: %s",
      async (args) => {
        const full = await shell(`exec "$0" "$@" >/dev/full`, args);
        if (args[0] === "migrate") expect(full.code).toBe(1);
        else expectOneLine(full, "standard output: ENOSPC");
        if (args[0] !== "info") return;
        const broken = await shell(`set -o pipefail; { sleep 0.05; "$0" "$@"; } | true`, args);
        expectOneLine(broken, "standard output: write EPIPE");
      },
      60_000,
    );

    it("a full standard error: the exit code says it", async () => {
      expect(await shell(`exec "$0" "$@" 2>/dev/full`, ["stream", at("absent")])).toMatchObject({
        code: 1,
        stderr: "",
      });
    });

    it("serve goes on when its standard output is full", async () => {
      const full = openSync("/dev/full", "w");
      const child = spawn(
        process.execPath,
        [BIN, "serve", "memory-card", "--size", "1M", "--socket-path", at("f")],
        {
          stdio: ["ignore", full, "pipe"],
        },
      );
      closeSync(full);
      const [said] = (await once(child.stderr!, "data")) as [Buffer];
      expect(said.toString()).toMatch(/^error: standard output: ENOSPC/);
      expect(await Vfiokit.run("ctl", at("f"), "info")).toMatchObject({ code: 0 });
      child.kill("SIGTERM");
      expect(await once(child, "exit")).toEqual([1, null]);
    });
  },
);

describe("a control socket of something else", { timeout: 120_000 }, () => {
  const commands = [
    ["info"],
    ["reset"],
    ["hot-reset"],
    ["inject", "fatal"],
    ["remove"],
    ["pause"],
    ["resume"],
    ["tasks"],
    ["migration"],
    ["stream"],
    ["hand-over", "status"],
  ];
  const answers: unknown[] = [
    { result: {} },
    { result: { tasks: 1, functions: 1, sections: [{}], handOver: null, relay: true } },
    { result: [] },
    { error: {} },
    { error: null },
    {},
    [],
    "null",
    "not JSON",
    { result: { tasks: [{ id: 1, name: "n", holds: [{}], waits: [null] }] } },
  ];
  it.each(answers.map((answer) => [JSON.stringify(answer), answer]))(
    "that answers %s",
    async (_, answer) => {
      using dir = scratch();
      await using _peer = await Peer.answering(dir.file("s.ctl"), answer);
      const some =
        answer === answers[0] ? commands : commands.filter(([name]) => name === "info" || name === "tasks");
      for (const command of some) expectOneLine(await Vfiokit.run("ctl", dir.file("s"), ...command));
      expectOneLine(await Vfiokit.run("migrate", dir.file("s"), dir.file("t")));
      expect((await Vfiokit.run("migrate", "--recover", dir.file("s"), dir.file("t"))).stderr).not.toMatch(
        /\n {4}at /,
      );
    },
    60_000,
  );

  it.each(
    [null, {}, { event: "round" }, { event: "progress", phase: 1 }, { event: "check", source: null }].map(
      (e) => [e],
    ),
  )("a relay that tells %j during a move", async (event) => {
    using dir = scratch();
    const status = {
      relay: true,
      listen: "l",
      server: "s",
      connected: true,
      migrating: false,
      underWay: 0,
      snapshots: 0,
    };
    await using _peer = await Peer.listen(dir.file("s.ctl"), (socket) =>
      socket.on("data", (request: Buffer) =>
        socket.write(`${JSON.stringify(request.includes('"info"') ? { result: status } : { event })}\n`),
      ),
    );
    expectOneLine(await Vfiokit.run("migrate", dir.file("s"), dir.file("t")), /EPROTO/);
  });
});

describe("lock protocols that are made to be expensive", { timeout: 120_000 }, () => {
  const bomb = [
    "a: &a [x, x, x, x, x, x, x, x, x]",
    ..."bcdefghij"
      .split("")
      .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${"abcdefghi"[at]!}`).join(", ")}]`),
    "scenarios: *j",
  ].join("\n");

  it.each([
    ["aliases of aliases", bomb, "aliases"],
    ["nested 100,000 deep", "[".repeat(100_000), /./],
    ["nested 100,000 deep, as a block", "- ".repeat(100_000), /./],
    ["an alias of itself", "scenarios: &a [*a]", /./],
    ["nothing", "", /./],
    ["bytes", "\0\x01\xff", /./],
    [
      "a key of JavaScript's",
      '{"__proto__": 1, "scenarios": [{"name": "n", "locks": {"__proto__": {"kind": "mutex"}}, "tasks": []}]}',
      /./,
    ],
  ])(
    "%s: one line",
    async (_, text, says) => {
      using dir = scratch();
      writeFileSync(dir.file("p.yaml"), text);
      expectOneLine(await Vfiokit.run("lockdep", "check", dir.file("p.yaml")), says);
    },
    60_000,
  );
});
