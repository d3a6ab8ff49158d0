import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { encodeFrame } from "../../user/src/migrate/remote/protocol.js";
import { Output, printableJson } from "../src/output.js";
import { Peer } from "./peers.js";
import { scratch, Vfiokit } from "./vfiokit.js";
import { serveCard } from "./migrate/card.js";
import { PassThrough } from "node:stream";

/** Clears the screen, rings, sets the title, goes over the line's start, turns the direction, and CSI in one byte. */
const HOSTILE = "\x1b[2J\x07\x1b]0;pwned\x07\rerror: \u202e\u009b31m\x7f\u2028";
const STEERS = /(?!\n|\t)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** Runs a command, which must say the text and no control characters. */
async function tame(args: readonly string[], code: number, says = "pwned"): Promise<void> {
  const ended = await Vfiokit.run(...args);
  const all = ended.stdout + ended.stderr;
  expect(all).toContain(says);
  expect(STEERS.exec(all)).toBeNull();
  expect(ended.code).toBe(code);
}

const device = {
  name: HOSTILE,
  id: HOSTILE,
  connected: true,
  openCount: 1,
  paused: false,
  stopped: [],
  intxMasked: false,
  removed: false,
  generation: 0,
  migratable: true,
  handOver: { phase: "given", id: HOSTILE },
  faults: { count: 0, failed: false },
  set: [HOSTILE],
};
const handOver = {
  phase: "given",
  id: HOSTILE,
  wasReset: false,
  state: "STOP",
  generation: 0,
  instance: HOSTILE,
};
const task = {
  id: 1,
  name: HOSTILE,
  holds: [{ lock: HOSTILE, device: HOSTILE, mode: "exclusive" }],
  waits: [{ lock: HOSTILE, mode: "read", milliseconds: 1, heldBy: [1] }],
};
const answers: readonly [string[], object][] = [
  [["info"], device],
  [
    ["info"],
    {
      relay: true,
      listen: HOSTILE,
      server: HOSTILE,
      connected: true,
      migrating: false,
      underWay: 0,
      snapshots: 0,
    },
  ],
  [["hot-reset"], { functions: [{ name: HOSTILE, generation: 1 }] }],
  [["tasks"], { tasks: [task] }],
  [["stream"], { format: 1, sections: [{ name: HOSTILE, version: 1, optional: false }] }],
  [["hand-over", "status"], handOver],
];

describe("what a peer or a file says cannot steer the terminal", { timeout: 60_000 }, () => {
  it.each(answers)("ctl %s", async (command, result) => {
    using dir = scratch();
    await using _peer = await Peer.answering(dir.file("s.ctl"), { result });
    await tame(["ctl", dir.file("s"), ...command], 0);
    await tame(["ctl", dir.file("s"), ...command, "--json"], 0);
  });

  it.each([
    ["an error's message", { error: { errno: 16, code: "EBUSY", message: HOSTILE } }],
    ["a field that should be a number", { result: { ...device, generation: HOSTILE } }],
  ])("ctl: %s", async (_, answer) => {
    using dir = scratch();
    await using _peer = await Peer.answering(dir.file("s.ctl"), answer);
    await tame(["ctl", dir.file("s"), "info"], 1);
    const says = "error" in answer ? "pwned" : "has no phase";
    await tame(["migrate", "--recover", dir.file("s"), dir.file("t")], 1, says);
  });

  it("migrate: events and warnings of a relay", async () => {
    using dir = scratch();
    const [from] = [dir.file("s")];
    await using _peer = await Peer.listen(`${from}.ctl`, (socket) =>
      socket.on("data", (request: Buffer) => {
        if (request.includes('"info"')) socket.write(`${JSON.stringify({ result: answers[1]![1] })}\n`);
        else
          for (const line of [
            { event: { event: "warning", message: HOSTILE } },
            { event: { event: "restart", restarts: 1, reason: HOSTILE } },
            { error: { errno: 5, code: "EIO", message: HOSTILE } },
          ])
            socket.write(`${JSON.stringify(line)}\n`);
      }),
    );
    await tame(["migrate", from, dir.file("t")], 1);
    await tame(["migrate", from, dir.file("t"), "--json"], 1);
  });

  it("migrate: a receiver's refusal", async () => {
    using dir = scratch();
    await using card = await serveCard(dir.file("card"));
    await using receiver = await Peer.listen(0, (socket) =>
      socket.on("data", () =>
        socket.write(encodeFrame("REFUSED", { errno: 16, flags: 0, message: HOSTILE })),
      ),
    );
    const url = `tls://127.0.0.1:${receiver.port}`;
    await tame(["migrate", dir.file("card"), url, "--insecure-loopback"], 1);
    await tame(["migrate", dir.file("card"), url, "--insecure-loopback", "--json"], 1);
    expect(await card.kill("SIGTERM")).toBe(0);
  });

  it("names in lock protocols: lockdep check, lab check, their pictures and models", async () => {
    using dir = scratch();
    const file = dir.file("p.json");
    const [a, b] = [`A${HOSTILE}`, `B${HOSTILE}`];
    writeFileSync(
      file,
      JSON.stringify({
        scenarios: [
          {
            name: HOSTILE,
            locks: { [a]: { kind: "mutex" }, [b]: { kind: "mutex", class: `C${HOSTILE}` } },
            tasks: [
              {
                name: HOSTILE,
                steps: [
                  ["lock", a],
                  ["lock", b],
                  ["unlock", b],
                  ["unlock", a],
                ],
              },
              {
                name: `2${HOSTILE}`,
                steps: [
                  ["lock", b],
                  ["lock", a],
                  ["unlock", a],
                  ["unlock", b],
                ],
              },
            ],
          },
        ],
      }),
    );
    for (const option of [[], ["--json"], ["--dot"], ["--mermaid"], ["--svg"]])
      await tame(
        ["lockdep", "check", file, ...option],
        option.length === 0 || option[0] === "--json" ? 1 : 1,
      );
    await tame(["lockdep", "check", file, "--promela"], 0);
    await tame(["lab", "check", file], 1);
    await tame(["lab", "check", file, "--json"], 1);
    writeFileSync(
      file,
      JSON.stringify({ scenarios: [{ name: "n", locks: {}, tasks: [[["lock", HOSTILE]]] }] }),
    );
    await tame(["lockdep", "check", file], 1);
    await tame(["lab", "check", file], 1);
  });

  it("a kernel log: lockdep explain", async () => {
    using dir = scratch();
    const file = dir.file("log");
    const lines = [
      "WARNING: possible recursive locking detected",
      `${HOSTILE.replace("\u2028", "")}/1 is trying to acquire lock:`,
      `(${HOSTILE.replace("\u2028", "")}){+.+.}, at: f+0x1/0x2`,
      "but task is already holding lock:",
      `(${HOSTILE.replace("\u2028", "")}){+.+.}, at: f+0x1/0x2`,
    ];
    writeFileSync(file, lines.map((line) => `[    1.0] ${line}\n`).join(""));
    await tame(["lockdep", "explain", file], 0);
    await tame(["lockdep", "explain", file, "--json"], 0);
  });

  it.each([
    ["stream"],
    ["restore", "SOCKET"],
    ["lockdep", "check"],
    ["lockdep", "explain"],
    ["lab", "check"],
    ["info"],
    ["no-such-command"],
  ])("the names of files and words: %s", async (...args) => {
    using dir = scratch();
    const file = dir.file(`no${HOSTILE}`);
    const [command, more] = args;
    const words = more === "SOCKET" ? [command, file, dir.file("s")] : [...args, file];
    await tame(
      words,
      command === "no-such-command" ? 2 : 1,
      command === "no-such-command" ? "error: " : "pwned",
    );
  });
});

describe("an output", () => {
  const terminal = () => Object.assign(new PassThrough(), { isTTY: true });
  const written = (stream: PassThrough) => (stream.read() as Buffer).toString();

  it("on a terminal has our colours, and those of nobody else", () => {
    const stream = terminal();
    const output = new Output(
      () => stream,
      () => undefined,
    );
    output.line(`${output.style.red("ours")} \x1b[31mtheirs`);
    expect(written(stream)).toBe("\x1b[31mours\x1b[39m \\x1b[31mtheirs\n");
  });

  it("has a line for each line: a newline in a name begins none", () => {
    const stream = terminal();
    new Output(
      () => stream,
      () => undefined,
    ).lines(["a\nerror: b", "c"]);
    expect(written(stream)).toBe("a\\nerror: b\nc\n");
  });

  it("as JSON says the same", () => {
    const value = { [HOSTILE]: [HOSTILE, "\u{e0001}", "plain ä"] };
    const json = printableJson(JSON.stringify(value, null, 2));
    expect(JSON.parse(json)).toEqual(value);
    expect(STEERS.exec(json)).toBeNull();
    expect(json).toContain("plain ä");
  });
});
