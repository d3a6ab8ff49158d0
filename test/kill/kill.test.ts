import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VfioError } from "@vfiokit/core";
import {
  connectRemoteTarget,
  LocalSource,
  LocalTarget,
  localSide,
  migrate,
  migratePhases,
  recover,
  type MigrateHooks,
  type MigrationTarget,
} from "@vfiokit/user";
import { expectOneRuns, setValue, sideNow } from "./aftermath.js";
import { Program } from "./process.js";

// SIGKILL to each of the processes of a migration, at 200 points of it: docs/migration.md, "Hand-over".
//
// One kill serves many migrations, of as many devices: each is driven to a point of its own and waits there, by the
// migrationClient's fault hook; then the process that they have in common is killed.

/** Devices of a server, and so points at which one kill is tested: two kills for each of four victims, 200 in all. */
const DEVICES = 25;
/** The second kill's points are between the first one's. */
const SHIFT = 0.5;
const options = { maxDowntime_ms: 0, maxRounds: 3 };
const scratch = mkdtempSync(join(tmpdir(), "vfiokit-kill-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** Each device's is its own. */
const valueOf = (device: number) => 1000 + device;

class Servers implements AsyncDisposable {
  static #made = 0;
  readonly from = join(scratch, `from${Servers.#made}`);
  readonly to = join(scratch, `to${Servers.#made++}`);
  source!: Program;
  target!: Program;

  static async start(): Promise<Servers> {
    const servers = new Servers();
    for (const directory of [servers.from, servers.to]) mkdirSync(directory);
    servers.source = Program.start("server", servers.from, String(DEVICES));
    servers.target = Program.start("server", servers.to, String(DEVICES));
    await Promise.all([servers.source.ready(), servers.target.ready()]);
    for (let i = 0; i < DEVICES; i++) await setValue(servers.fromPath(i), valueOf(i));
    return servers;
  }

  fromPath(device: number): string {
    return join(this.from, String(device));
  }

  toPath(device: number): string {
    return join(this.to, String(device));
  }

  /** Another one in the place of one that was killed, as a supervisor would start it. */
  async restart(side: "source" | "target"): Promise<void> {
    this[side] = Program.start("server", side === "source" ? this.from : this.to, String(DEVICES));
    await this[side].ready();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.source[Symbol.asyncDispose](), this.target[Symbol.asyncDispose]()]);
  }
}

/** Waits until so many have come, and lets them go together. */
class Gathering {
  readonly complete: Promise<void>;
  readonly opened: Promise<void>;
  open!: () => void;
  #missing: number;
  #completed!: () => void;

  constructor(count: number) {
    this.#missing = count;
    this.complete = new Promise((resolve) => (this.#completed = resolve));
    this.opened = new Promise((resolve) => (this.open = resolve));
  }

  arrive(): void {
    if (--this.#missing === 0) this.#completed();
  }
}

/** A migration of device `i` that stops at the point `stop` until the gathering opens. @returns what its migration client says */
async function move(
  servers: Servers,
  i: number,
  stop: number,
  gathering: Gathering,
  connectTarget: (i: number) => Promise<MigrationTarget>,
): Promise<string> {
  using source = await LocalSource.connect(servers.fromPath(i));
  const target = await connectTarget(i);
  let points = 0;
  const fault: MigrateHooks["fault"] = () => {
    if (points++ !== stop) return undefined;
    gathering.arrive();
    return gathering.opened;
  };
  try {
    const { status } = await migrate(source, target, { ...options, hooks: { fault } });
    return status;
  } catch (error) {
    if (error instanceof VfioError) return error.message;
    throw error;
  } finally {
    target.close();
  }
}

/** What is so for each device, before anybody recovers and after. */
async function checkAll(servers: Servers, sayings: readonly (string | undefined)[]): Promise<void> {
  for (let i = 0; i < DEVICES; i++) {
    const [from, to, value] = [servers.fromPath(i), servers.toPath(i), valueOf(i)];
    const now = async (said: string | undefined) =>
      expectOneRuns({ source: await sideNow(from, value), target: await sideNow(to, value), said });
    await now(sayings[i]);
    const { message, runs } = await recover(localSide(from), localSide(to));
    expect(runs, message).not.toBe("undecided");
    await now(message);
  }
}

/** The phases of an undisturbed migration's points, in their order. */
const points: string[] = [];

/** `DEVICES` points of all, evenly spread; `shift` of 0 to 1 moves them on. */
const spread = (shift: number) =>
  Array.from({ length: DEVICES }, (_, i) => Math.floor(((i + shift) * points.length) / DEVICES));

beforeAll(async () => {
  await using servers = await Servers.start();
  using source = await LocalSource.connect(servers.fromPath(0));
  using target = await LocalTarget.connect(servers.toPath(0));
  const fault = (point: string) => void points.push(point.split(":")[0]!);
  await migrate(source, target, { ...options, hooks: { fault } });
  const tried = [0, SHIFT].flatMap((shift) => spread(shift).map((point) => points[point]));
  expect(new Set(tried)).toEqual(new Set(migratePhases));
}, 60_000);

/** Each victim is killed twice: 4 x 2 x 25 points. */
describe.each([
  // Nothing is under way, at the very point; then with requests under way.
  { name: "while its migration clients wait at a point", shift: 0, inFlight: false, restarted: false },
  {
    name: "as its migration clients go on from a point, and a server is started in its place",
    shift: SHIFT,
    inFlight: true,
    restarted: true,
  },
])("SIGKILL, $name", { timeout: 90_000 }, ({ shift, inFlight, restarted }) => {
  /** Brings all migrations to their points, kills, and hears what the migration clients say. */
  async function killed(
    servers: Servers,
    victim: Program,
    connectTarget: (i: number) => Promise<MigrationTarget>,
  ): Promise<string[]> {
    const gathering = new Gathering(DEVICES);
    const moves = spread(shift).map((stop, i) => move(servers, i, stop, gathering, connectTarget));
    await gathering.complete;
    if (inFlight) gathering.open();
    victim.kill();
    if (!inFlight) await victim.dead;
    gathering.open();
    const said = await Promise.all(moves);
    await victim.dead;
    return said;
  }

  it("the source's server", async () => {
    await using servers = await Servers.start();
    const said = await killed(servers, servers.source, (i) => LocalTarget.connect(servers.toPath(i)));
    if (restarted) await servers.restart("source");
    await checkAll(servers, said);
  });

  it("the target's server", async () => {
    await using servers = await Servers.start();
    const said = await killed(servers, servers.target, (i) => LocalTarget.connect(servers.toPath(i)));
    if (restarted) await servers.restart("target");
    // A migration client that has migrated has done its part: what becomes of the target then is not its to tell.
    await checkAll(
      servers,
      said.map((one) => (one === "migrated" ? undefined : one)),
    );
  });

  it("the receiver", async () => {
    await using servers = await Servers.start();
    await using receiver = Program.start("receiver", servers.to, String(DEVICES));
    const port = await receiver.ready();
    const security = { kind: "insecure-loopback" } as const;
    const said = await killed(servers, receiver, (i) =>
      connectRemoteTarget(`tls://127.0.0.1:${port}/d${i}`, { security }),
    );
    await checkAll(servers, said);
  });

  it("the migration client", async () => {
    await using servers = await Servers.start();
    const then = inFlight ? "go on" : "wait";
    await using migrationClient = Program.start(
      "migration-client",
      servers.from,
      servers.to,
      then,
      ...spread(shift).map(String),
    );
    if (!inFlight) {
      await migrationClient.ready();
      migrationClient.kill();
    }
    expect(await migrationClient.dead).toBe("SIGKILL");
    await checkAll(servers, []);
  });
});
