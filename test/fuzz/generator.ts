import { encodeReply, encodeRequest } from "@vfiokit/user/wire";
import { Grammar, type Profile, type Request } from "./grammar.js";
import { mutate } from "./mutate.js";
import { Random } from "./random.js";
import { dmaAnswers, type Line, type SendStep, type Session, type Step } from "./session.js";

const MAX_REQUESTS = 160;

/** The session of a seed. @param valid nothing in it is wrong */
export function generate(seed: number, profile: Profile, valid = false): Session {
  const random = new Random(seed);
  const twin = random.once(2);
  const grammar = new Grammar(random, profile, twin);
  /** One message in so many is damaged; 0: none. */
  const damage = valid ? 0 : random.pick([0, 20, 6, 2]);
  /** The stream stays one of messages, so that the session gets far. */
  const stepped = !random.once(3);
  const cutting = random.once(3);
  const steps: Step[] = [];

  const send = (request: Request, line: Line = "main"): void => {
    const isDamaged = damage > 0 && random.once(damage);
    const { bytes, fds, mutation } = isDamaged
      ? mutate(random, request, stepped)
      : { ...request, mutation: undefined };
    steps.push({ kind: "send", line, bytes, fds, ...pieces(random, bytes, fds.length, cutting), mutation });
  };

  send(grammar.version());
  // Whoever is in a hurry does not wait for the answer.
  if (!random.once(6)) steps.push({ kind: "wait" });
  for (const request of grammar.beginning()) send(request);
  for (let left = random.below(MAX_REQUESTS); left > 0; left--) {
    const requests = grammar.any();
    for (const request of requests) send(request);
    if (random.once(12)) steps.push({ kind: "wait" });
    // What a device was told to do takes a while.
    if (requests.length > 1 && random.once(2)) steps.push({ kind: "wait" }, { kind: "linger" });
    if (damage === 0) continue;
    if (twin && random.once(8)) send(unexpected(random), "twin");
    if (random.once(40)) steps.push({ kind: "deaf" });
    if (random.once(40)) steps.push({ kind: "shrink file" });
    if (random.once(60)) steps.push({ kind: "other client", says: otherClient(random, grammar) });
  }
  if (damage > 0 && random.once(4)) steps.push(torn(random, grammar.any()[0]!));
  return {
    seed,
    steps,
    dma: damage === 0 ? "right" : random.pick(dmaAnswers),
    end: valid ? "wait" : random.pick(["wait", "wait", "at once", "half"]),
  };
}

function pieces(
  random: Random,
  bytes: Uint8Array,
  fds: number,
  cutting: boolean,
): Pick<SendStep, "cuts" | "fdsWith" | "joined"> {
  // Descriptors are of the message that holds the last byte that came with them.
  if (!cutting || random.once(2) || bytes.length < 2) return { cuts: [], fdsWith: 0, joined: fds === 0 };
  const cuts = Array.from({ length: 1 + random.below(4) }, () => 1 + random.below(bytes.length - 1));
  const sorted = [...new Set(cuts)].sort((a, b) => a - b);
  return { cuts: sorted, fdsWith: random.below(sorted.length + 1), joined: false };
}

/** What nobody has asked for. */
function unexpected(random: Random): Request {
  const count = random.below(16);
  const reply = { address: BigInt(random.below(1 << 16)), count: BigInt(count), data: random.bytes(count) };
  const bytes = random.once(2)
    ? encodeReply("DMA_READ", random.below(4), reply)
    : encodeRequest("REGION_READ", random.below(4), { region: 7, offset: 0n, count: 4 });
  return { bytes, fds: [] };
}

function otherClient(random: Random, grammar: Grammar): Uint8Array {
  const { bytes } = grammar.version();
  return random.once(2) ? bytes : bytes.subarray(0, random.below(bytes.length));
}

/** The last message, of which only a part is sent. */
function torn(random: Random, { bytes, fds }: Request): SendStep {
  const part = bytes.subarray(0, 1 + random.below(bytes.length - 1));
  const mutation = `torn after ${part.length} of ${bytes.length} bytes`;
  return { kind: "send", line: "main", bytes: part, fds, cuts: [], fdsWith: 0, joined: false, mutation };
}
