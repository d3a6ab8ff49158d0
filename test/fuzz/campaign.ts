import { generate } from "./generator.js";
import type { Measured } from "./host.js";
import { Finding } from "./player.js";
import { formatSession, smaller, type Session } from "./session.js";
import { Target, type ServerKind } from "./target.js";

export interface Counts {
  sessions: number;
  messages: number;
  answers: number;
  refused: number;
  /** Commands of the server: DMA by message. */
  dma: number;
  /** The longest that an answer took, milliseconds without those that a process waited for a CPU. */
  longest: number;
}

export interface Fault {
  readonly server: ServerKind;
  readonly what: string;
  readonly session: Session;
  /** How to see it again. */
  readonly replay: string;
}

/** What the fuzzed process held after its warm-up, and at the end. */
export interface Held {
  readonly first: Measured & { readonly maps: number };
  readonly last: Measured & { readonly maps: number };
}

export interface CampaignOptions {
  readonly server: ServerKind;
  readonly seed: number;
  readonly sessions?: number;
  readonly messages?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (counts: Counts) => void;
  readonly onFault?: (fault: Fault) => void;
}

/** Sessions before memory is looked at for the first time: code is compiled, buffers have grown. */
const MEMORY_WARM_UP = 150;
/** What memory may vary by, bytes: what V8 and malloc keep. */
const HEAP_SLACK = 3 * 1024 ** 2;
const RSS_SLACK = 64 * 1024 ** 2;
const MAPS_SLACK = 200;
/** For runs of a session that is being shrunk, each in a new process. */
const SHRINK_MS = 30_000;

/** Plays sessions, from one seed up, until it is told to stop. @returns what was held, where it lasted that long */
export async function campaign(
  options: CampaignOptions,
): Promise<{ counts: Counts; held: Held | undefined }> {
  const { server, seed, sessions = Infinity, messages = Infinity, signal, onProgress, onFault } = options;
  const counts: Counts = { sessions: 0, messages: 0, answers: 0, refused: 0, dma: 0, longest: 0 };
  let first: Held["first"] | undefined;
  let target = await Target.start(server);
  const held = async (): Promise<Held["first"]> => ({ ...(await target.measure()), maps: target.maps });
  try {
    for (let at = seed; counts.sessions < sessions && counts.messages < messages && !signal?.aborted; at++) {
      const session = generate(at, target.profile);
      try {
        const played = await target.play(session);
        counts.messages += played.messages;
        counts.answers += played.answers;
        counts.refused += played.refused;
        counts.dma += played.dma;
      } catch (error) {
        if (!(error instanceof Finding)) throw error;
        await target[Symbol.asyncDispose]();
        onFault?.(await faultOf(server, session, error));
        target = await Target.start(server);
        first = undefined;
      }
      counts.sessions++;
      counts.longest = Math.max(counts.longest, target.patience.longest);
      if (counts.sessions === MEMORY_WARM_UP) first = await held();
      onProgress?.(counts);
    }
    if (!first) return { counts, held: undefined };
    const last = await held();
    const grown = growth({ first, last });
    if (grown !== undefined) {
      const session = generate(seed, target.profile);
      const replay = replayText(server, seed, counts.sessions);
      onFault?.({ server, what: grown, session: { ...session, steps: [] }, replay });
    }
    return { counts, held: { first, last } };
  } finally {
    await target[Symbol.asyncDispose]();
  }
}

function growth({ first, last }: Held): string | undefined {
  const beyond = (name: string, before: number, after: number, slack: number): string[] =>
    after - before > slack ? [`${name} grew from ${before} to ${after}`] : [];
  const grown = [
    ...beyond("memory in use", first.heap, last.heap, HEAP_SLACK),
    ...beyond("resident memory", first.rss, last.rss, RSS_SLACK),
    ...beyond("maps", first.maps, last.maps, MAPS_SLACK),
  ];
  return grown.length > 0 ? grown.join(", ") : undefined;
}

async function faultOf(server: ServerKind, session: Session, finding: Finding): Promise<Fault> {
  const alone = await findingOf(server, session);
  const replay = replayText(server, session.seed, 1);
  if (!alone)
    return {
      server,
      what: `${finding.message}\n(not seen again in a new process: it needs the sessions before it)`,
      session,
      replay: replayText(server, Math.max(0, session.seed - 50), 51),
    };
  let least = { session, finding: alone };
  const begun = performance.now();
  const inTime = (): boolean => performance.now() - begun < SHRINK_MS;
  for (let shrunk = true; shrunk && inTime();) {
    shrunk = false;
    for (const less of smaller(least.session)) {
      if (!inTime()) break;
      const again = await findingOf(server, less);
      if (!again || sortOf(again) !== sortOf(alone)) continue;
      least = { session: less, finding: again };
      shrunk = true;
      break;
    }
  }
  return { server, what: least.finding.message, session: least.session, replay };
}

/** Findings that are alike but for their numbers. */
const sortOf = ({ message }: Finding): string => message.replace(/\d+/g, "N").split("\n")[0]!;

async function findingOf(server: ServerKind, session: Session): Promise<Finding | undefined> {
  await using target = await Target.start(server);
  try {
    await target.play(session);
    return undefined;
  } catch (error) {
    if (error instanceof Finding) return error;
    throw error;
  }
}

function replayText(server: ServerKind, seed: number, sessions: number): string {
  return `npm run fuzz:protocol -- --server ${server} --seed ${seed} --sessions ${sessions}`;
}

export function formatFault({ server, what, session, replay }: Fault): string {
  return [`${server}: ${what}`, formatSession(session), `again: ${replay}`].join("\n");
}
