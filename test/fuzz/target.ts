import { join } from "node:path";
import { RegionIndex } from "@vfiokit/core";
import {
  counterRegisters as counter,
  memoryCardRegisters as memory,
  uartRegisters as uart,
} from "@vfiokit/devices";
import { VfioUserClient } from "@vfiokit/user";
import { Files } from "./files.js";
import { generate } from "./generator.js";
import type { Profile } from "./grammar.js";
import { Host, socketFolder, type Measured } from "./host.js";
import { ANSWER_MS, Patience } from "./patience.js";
import { Finding, play, type Played } from "./player.js";
import type { Session } from "./session.js";

/** What can be fuzzed: each device that is shipped, and the relay (before a counter, which is in another process). */
export const serverKinds = ["serial", "counter", "memory-card", "relay"] as const;
export type ServerKind = (typeof serverKinds)[number];

const counterRecipes: Profile["recipes"] = [
  [
    [counter.ADDRESS_LOW, "address"],
    [counter.PERIOD, 1],
    [counter.COUNT, 0],
    [counter.COMPARE, 1],
    [counter.CONTROL, counter.CONTROL_ENABLE | counter.CONTROL_INTERRUPT],
  ],
  [
    [counter.CONTROL, 0],
    [counter.STATUS, counter.STATUS_MASK],
  ],
];
const recipes: Record<ServerKind, Profile["recipes"]> = {
  serial: [
    [
      [uart.LCR & ~3, "any"],
      [0, "any"],
    ],
  ],
  counter: counterRecipes,
  relay: counterRecipes,
  "memory-card": [memory.COMMAND_FILL, memory.COMMAND_VERIFY].map((command) => [
    [memory.PAGE, 0],
    [memory.COUNT, "any"],
    [memory.SEED, "any"],
    [memory.COMMAND, command],
    [memory.RATE, command === memory.COMMAND_FILL ? 2 ** 30 : 0],
  ]),
};

/** Valid sessions that a new process is given before anything of it is compared. */
const WARM_UP = 8;
/** Between two looks at the neighbour, milliseconds. */
const LOOK_MS = 20;

/** A server to be fuzzed, with a second device in its process. */
export class Target implements AsyncDisposable {
  #baseline: ReturnType<Host["resources"]> | undefined;
  #neighbour: Neighbour | undefined;

  private constructor(
    private readonly hosts: readonly [Host, ...Host[]],
    private readonly folder: ReturnType<typeof socketFolder>,
    private readonly files: Files,
    readonly patience: Patience,
    readonly profile: Profile,
  ) {}

  static async start(kind: ServerKind): Promise<Target> {
    const folder = socketFolder();
    const at = (name: string): string => join(folder.path, name);
    const behind = kind === "relay" ? [await Host.start([`counter=${at("server")}`])] : [];
    const fuzzed = kind === "relay" ? `relay=${at("fuzzed")},${at("server")}` : `${kind}=${at("fuzzed")}`;
    const host = await Host.start([fuzzed, `counter=${at("neighbour")}`]);
    const patience = new Patience([host, ...behind].map(({ pid }) => pid));
    const profile = await profileOf(kind, at("fuzzed"));
    const target = new Target([host, ...behind], folder, new Files(), patience, profile);
    for (let seed = 0; seed < WARM_UP; seed++) await target.play(generate(seed, profile, true));
    target.#neighbour = await Neighbour.connect(at("neighbour"), patience);
    target.#baseline = await target.#atRest();
    return target;
  }

  /** @throws Finding */
  async play(session: Session): Promise<Played> {
    const played = await play(session, join(this.folder.path, "fuzzed"), this.files, this.patience);
    if (!this.#baseline) return played;
    const now = await this.#atRest();
    const { fds, shared } = this.#baseline;
    if (now.fds.length !== fds.length || now.shared !== shared) {
      const more = now.fds.filter(
        (one, at, all) => count(all, one) > count(fds, one) && all.indexOf(one) === at,
      );
      throw new Finding(
        `left behind: ${now.fds.length - fds.length} descriptors (${more.join(", ")}), ${now.shared - shared} maps`,
      );
    }
    const bugs = this.hosts.flatMap((host) => host.bugs.splice(0));
    if (bugs.length > 0) throw new Finding(bugs.join("\n"));
    if (this.#neighbour?.finding) throw this.#neighbour.finding;
    return played;
  }

  /** What the fuzzed process holds. */
  measure(): Promise<Measured> {
    return this.hosts[0].measure();
  }

  get maps(): number {
    return this.hosts[0].resources().maps;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#neighbour?.close();
    for (const host of this.hosts) await host.close();
    this.files[Symbol.dispose]();
    this.folder[Symbol.dispose]();
  }

  /** Once everything of the last client is released, or a second has gone by. */
  async #atRest(): Promise<ReturnType<Host["resources"]>> {
    const [host] = this.hosts;
    const since = this.patience.mark();
    for (;;) {
      if (!host.alive) throw new Finding(host.bugs.join("\n"));
      const now = host.resources();
      const base = this.#baseline;
      if (base && now.fds.length === base.fds.length && now.shared === base.shared) return now;
      // A new process has no client: the sockets that are left listen.
      if (!base && this.patience.since(since) > 200) return now;
      if (this.patience.since(since) > ANSWER_MS) return now;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** The second device of the process: a register of it is read again and again. */
class Neighbour {
  finding: Finding | undefined;
  #over = false;
  readonly #watched: Promise<void>;

  private constructor(
    private readonly client: VfioUserClient,
    private readonly patience: Patience,
  ) {
    this.#watched = this.#watch();
  }

  static async connect(path: string, patience: Patience): Promise<Neighbour> {
    return new Neighbour(await VfioUserClient.connect(path), patience);
  }

  async close(): Promise<void> {
    this.#over = true;
    this.client.close();
    await this.#watched;
  }

  async #watch(): Promise<void> {
    const into = new Uint8Array(4);
    const late = `the second device of the process gave no answer within ${ANSWER_MS} ms`;
    while (!this.finding) {
      const read = this.client.regionRead(RegionIndex.CONFIG, 0, into).catch((error: unknown) => {
        if (!this.#over) this.finding ??= new Finding(`the second device of the process: ${String(error)}`);
      });
      if (!(await this.patience.wait(read))) this.finding ??= new Finding(late);
      if (this.#over) return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

const count = (list: readonly string[], one: string): number => list.filter((other) => other === one).length;

/** What a client can find out. */
async function profileOf(kind: ServerKind, path: string): Promise<Profile> {
  using client = await VfioUserClient.connect(path);
  const { numRegions, numIrqs } = await client.getInfo();
  const regions: number[] = [];
  for (let index = 0; index < numRegions; index++) regions.push((await client.getRegionInfo(index)).size);
  const irqs: number[] = [];
  for (let index = 0; index < numIrqs; index++) irqs.push((await client.getIrqInfo(index)).count);
  const image: Uint8Array[] = [];
  await client.reset();
  await client.migration.setState("STOP_COPY");
  for await (const chunk of client.migration.stream()) image.push(chunk.slice());
  await client.migration.setState("RUNNING");
  return { regions, irqs, image: Buffer.concat(image), recipes: recipes[kind] };
}
