import { describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import { LocalSource, LocalTarget, migrate, VfioUserClient, type MigrateEvent } from "@vfiokit/user";
import { scratch, Vfiokit } from "../vfiokit.js";
import { fillCard, phaseOf, serveCard, sumOfCard } from "./card.js";

const RUNNING = { phase: "none", state: "RUNNING" };

/** Two servers, the first of a card that is filled. */
async function twoServers(size = "1M") {
  const dir = scratch();
  const [a, b] = [dir.file("a"), dir.file("b")];
  const [from, to] = await Promise.all([serveCard(a, "--size", size), serveCard(b, "--size", size)]);
  const sum = await fillCard(a, 3);
  return {
    a,
    b,
    from,
    to,
    sum,
    async [Symbol.asyncDispose]() {
      await from[Symbol.asyncDispose]();
      await to[Symbol.asyncDispose]();
      dir[Symbol.dispose]();
    },
  };
}

/** Of a card of 8 MiB: a migration that takes its time, eight seconds, in which it is cancelled or somebody killed. */
const slowly = (a: string, b: string) =>
  Vfiokit.start(["migrate", a, b, "--bandwidth", "1M", "--max-downtime", "0", "--json"]);

const events = (stdout: string) =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as MigrateEvent | { event: "failed"; phase?: string; runs?: string });

describe("vfiokit migrate", { timeout: 60_000 }, () => {
  it("moves a device, and says what it cost", async () => {
    await using servers = await twoServers();
    const { code, stdout, stderr } = await Vfiokit.run("migrate", servers.a, servers.b);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^\S+\/a -> \S+\/b: migrated\n {2}downtime +[\d.]+ m?s, expected [\d.]+ [mµ]?s at most\n {2}in all +\S.*\n {2}sent +1\.\d MiB, .* of it while/,
    );
    expect(await sumOfCard(servers.b)).toBe(servers.sum);
    expect(await phaseOf(servers.a)).toEqual({ phase: "given", state: "STOP" });
  });

  it("a device that was given away says to whom, when, and how to have it back: in info, ctl info and errors", async () => {
    await using servers = await twoServers();
    expect(await Vfiokit.run("migrate", servers.a, servers.b)).toMatchObject({ code: 0 });
    const given = new RegExp(
      `given away to ${servers.b} at \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z in hand-over ([0-9a-f]{32})\\. To use it here ` +
        `again, as after a reset: (vfiokit ctl ${servers.a} hand-over discard \\1)`,
    );
    for (const args of [
      ["info", servers.a],
      ["save", servers.a, `${servers.a}.image`],
      ["migrate", servers.a, servers.b],
    ]) {
      const { code, stderr } = await Vfiokit.run(...args);
      expect([code, stderr]).toEqual([1, expect.stringMatching(given)]);
    }
    const { code, stdout } = await Vfiokit.run("ctl", servers.a, "info");
    expect(code).toBe(0);
    expect(stdout).toContain(`to ${servers.b} since `);
    const [, , command] = given.exec(stdout)!;
    expect(await Vfiokit.run(...command!.split(" ").slice(1))).toMatchObject({ code: 0 });
    expect(await Vfiokit.run("info", servers.a)).toMatchObject({ code: 0 });
  });

  it("--json: an event a line", async () => {
    await using servers = await twoServers();
    const { stdout } = await Vfiokit.run("migrate", servers.a, servers.b, "--json");
    const all = events(stdout);
    expect(
      all.filter(({ event }) => event === "phase").map((event) => "phase" in event && event.phase),
    ).toEqual(["check", "precopy", "stop", "stop-copy", "prepare", "give", "activate", "done"]);
    expect(all.find(({ event }) => event === "check")).toMatchObject({ precopy: true, recoverable: true });
    expect(all.at(-1)).toMatchObject({ event: "done", status: "migrated", precopyEnd: "converged" });
  });

  it("back again, and once more", async () => {
    await using servers = await twoServers();
    for (const [from, to] of [
      [servers.a, servers.b],
      [servers.b, servers.a],
      [servers.a, servers.b],
    ] as const)
      expect(await Vfiokit.run("migrate", from, to)).toMatchObject({ code: 0 });
    expect(await sumOfCard(servers.b)).toBe(servers.sum);
  });

  it("--dry-run: whether it can be", async () => {
    await using servers = await twoServers();
    const { code, stdout } = await Vfiokit.run("migrate", servers.a, servers.b, "--dry-run");
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\S+\/a -> \S+\/b: it can be migrated\n$/)]);
    expect([await phaseOf(servers.a), await phaseOf(servers.b)]).toEqual([RUNNING, RUNNING]);
  });

  it("another device: what differs, at both ends", async () => {
    using dir = scratch();
    await using card = await serveCard(dir.file("a"));
    await using serial = Vfiokit.start([
      "serve",
      "serial",
      "--socket-path",
      dir.file("b"),
      "--chardev",
      "null",
    ]);
    await serial.says(/\n/);
    const { code, stderr } = await Vfiokit.run("migrate", dir.file("a"), dir.file("b"));
    expect([code, card.child.exitCode]).toEqual([1, null]);
    expect(stderr).toMatch(
      /^error: EINVAL: .*device is 0103 at \S+\/a and 0002 at \S+\/b; class is 058000 .*\n$/,
    );
  });

  it("a server with another client: the message names the relay", async () => {
    await using servers = await twoServers();
    using _qemu = await VfioUserClient.connect(servers.a);
    const { code, stderr } = await Vfiokit.run("migrate", servers.a, servers.b);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^error: EBUSY: .*another client.*vfiokit relay.*\n$/),
    ]);
  });

  it("nobody there: one line", async () => {
    using dir = scratch();
    const { code, stdout, stderr } = await Vfiokit.run("migrate", dir.file("a"), dir.file("b"), "--json");
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^error: .*ENOENT.*\n$/)]);
    expect(events(stdout)).toEqual([
      { event: "failed", code: "ENOENT", message: expect.any(String) as unknown },
    ]);
  });

  it.each([
    ["no target", ["a"], /missing required argument 'to'/],
    ["a receiver as the source", ["tls://host:1", "b"], /a receiver takes devices, and gives none/],
    ["a bandwidth that is no number", ["a", "b", "--bandwidth", "fast"], /must be a number of bytes/],
    ["no bandwidth at all", ["a", "b", "--bandwidth", "0"], /must be a number of bytes/],
    ["a downtime that is none", ["a", "b", "--max-downtime", "-1"], /must be a time up to 24h, as 500ms/],
    ["half a round", ["a", "b", "--max-rounds", "0.5"], /must be a number, 0 or more/],
    ["--recover and --dry-run", ["a", "b", "--recover", "--dry-run"], /one of/],
    [
      "a compression that nobody knows",
      ["a", "b", "--compression", "lha"],
      /Allowed choices are auto, none, zstd/,
    ],
  ])("wrong usage, exit code 2: %s", async (_name, args, message) => {
    const { code, stdout, stderr } = await Vfiokit.run("migrate", ...args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });
});

describe("a migration that does not come to its end", { timeout: 60_000 }, () => {
  it("Ctrl-C: the source runs on, and so does the target, as after a reset", async () => {
    await using servers = await twoServers("8M");
    await using migrationClient = slowly(servers.a, servers.b);
    await migrationClient.says(/"event":"progress"/);
    expect(await migrationClient.kill("SIGINT")).toBe(1);
    expect(migrationClient.stderr).toMatch(/^error: ECANCELED: precopy: cancelled; \S+\/a runs on\n$/);
    expect(events(migrationClient.stdout).at(-1)).toMatchObject({
      event: "failed",
      phase: "precopy",
      runs: "source",
    });
    expect([await phaseOf(servers.a), await phaseOf(servers.b)]).toEqual([RUNNING, RUNNING]);
    expect(await sumOfCard(servers.a)).toBe(servers.sum);
    expect(await sumOfCard(servers.b)).toBe(0);
  });

  it("the target's server is killed: the source runs on", async () => {
    await using servers = await twoServers("8M");
    await using migrationClient = slowly(servers.a, servers.b);
    await migrationClient.says(/"event":"progress"/);
    await servers.to.kill("SIGKILL");
    expect(await migrationClient.ended).toBe(1);
    expect(migrationClient.stderr).toMatch(/^error: \w+: precopy: \S+\/b: .*; \S+\/a runs on\n$/);
    expect(await sumOfCard(servers.a)).toBe(servers.sum);
  });

  it("the source's server is killed: the message says that its device is gone", async () => {
    await using servers = await twoServers("8M");
    await using migrationClient = slowly(servers.a, servers.b);
    await migrationClient.says(/"event":"progress"/);
    await servers.from.kill("SIGKILL");
    expect(await migrationClient.ended).toBe(1);
    expect(migrationClient.stderr).toMatch(/precopy: .*; \S+\/a is gone, and its state with it/);
    expect(events(migrationClient.stdout).at(-1)).toMatchObject({ event: "failed", runs: "none" });
    expect(await phaseOf(servers.b)).toEqual(RUNNING);
  });

  it("the migration client is killed: the source runs on, and there is nothing to recover", async () => {
    await using servers = await twoServers("8M");
    await using migrationClient = slowly(servers.a, servers.b);
    await migrationClient.says(/"event":"progress"/);
    await migrationClient.kill("SIGKILL");
    expect(await sumOfCard(servers.a)).toBe(servers.sum);
    const { code, stdout } = await Vfiokit.run("migrate", "--recover", servers.a, servers.b);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^nothing to recover: /)]);
  });
});

describe("vfiokit migrate --recover", { timeout: 60_000 }, () => {
  /** A migration client that is lost between `give` and `activate`. */
  async function lostClient(a: string, b: string): Promise<string> {
    using source = await LocalSource.connect(a);
    using target = await LocalTarget.connect(b);
    target.activate = () => Promise.reject(new VfioError("ETIMEDOUT", "the migration client is lost"));
    const failure = migrate(source, target, { maxDowntime_ms: 300, maxRounds: 1 });
    return await failure.then(
      () => "",
      (error: unknown) => (error as Error).message,
    );
  }

  it("the command that the message names finishes it", async () => {
    await using servers = await twoServers();
    const { a, b } = servers;
    const message = await lostClient(a, b);
    expect(message).toContain(`vfiokit migrate --recover ${a} ${b}`);
    expect([(await phaseOf(a)).phase, (await phaseOf(b)).phase]).toEqual(["given", "prepared"]);
    // Neither can be used meanwhile, and whoever tries hears why.
    const { stderr } = await Vfiokit.run("migrate", b, a);
    expect(stderr).toMatch(/b: the device waits since .* for the end of hand-over .*--recover FROM TO/);
    const { code, stdout } = await Vfiokit.run("migrate", "--recover", a, b);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\S+\/b runs: .*\n {2}\S+\/b: activate\n$/)]);
    expect(await sumOfCard(b)).toBe(servers.sum);
    expect(await Vfiokit.run("migrate", "--recover", a, b)).toMatchObject({ code: 0 });
  });

  it("with the target lost, too, the source is taken back", async () => {
    await using servers = await twoServers();
    const { a, b } = servers;
    await lostClient(a, b);
    await servers.to.kill("SIGKILL");
    const { code, stdout } = await Vfiokit.run("migrate", "--recover", a, b, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      event: "recovered",
      runs: "source",
      steps: [{ side: "source", step: "take-back" }],
    });
    expect(await sumOfCard(a)).toBe(servers.sum);
  });
});
