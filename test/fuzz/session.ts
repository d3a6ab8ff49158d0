/** What a client does from its connection to its end, as data: made from a seed, played, shrunk, printed. */

import { describeMessage, formatDescription } from "@vfiokit/user/wire";

/** What a descriptor that goes along with a message is of. */
export const fdKinds = [
  "memfd",
  "memfd that can shrink",
  "memfd to read",
  "eventfd",
  "file of /proc",
  "socket",
  "folder",
  "/dev/null",
] as const;
export type FdKind = (typeof fdKinds)[number];

/** Which of the connection's sockets: the second one is for commands of the server (twin-socket mode). */
export type Line = "main" | "twin";

/** A message, or what was made of one. */
export interface SendStep {
  readonly kind: "send";
  readonly line: Line;
  readonly bytes: Uint8Array;
  readonly fds: readonly FdKind[];
  /** Where it is cut into several calls of sendmsg, in bytes. */
  readonly cuts: readonly number[];
  /** The piece that the descriptors go with. */
  readonly fdsWith: number;
  /** It leaves in one call with the message behind it. */
  readonly joined: boolean;
  /** What was done to it. Undefined: it is as the protocol wants it. */
  readonly mutation: string | undefined;
}

/** How the server's own commands (DMA_READ, DMA_WRITE) are answered. */
export const dmaAnswers = [
  "right",
  "error",
  "short",
  "long",
  "another id",
  "twice",
  "with a descriptor",
  "never",
  "garbage",
] as const;
export type DmaAnswer = (typeof dmaAnswers)[number];

export type Step =
  | SendStep
  /** Waits until all that was asked is answered. */
  | { readonly kind: "wait" }
  /** Does nothing for a few milliseconds. */
  | { readonly kind: "linger" }
  /** Stops reading, until the next `wait`. */
  | { readonly kind: "deaf" }
  /** Makes the shared file that can shrink as short as nothing; the end of the session makes it long again. */
  | { readonly kind: "shrink file" }
  /** A second client comes, says this, and goes. */
  | { readonly kind: "other client"; readonly says: Uint8Array };

export interface Session {
  readonly seed: number;
  readonly steps: readonly Step[];
  readonly dma: DmaAnswer;
  /** How the client goes: with all its answers, at once, or having closed its sending side only. */
  readonly end: "wait" | "at once" | "half";
}

/** Sessions with less in them, the boldest cuts first. */
export function* smaller(session: Session): Generator<Session> {
  const { steps } = session;
  // The first step is VERSION: without it there is no session.
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
    for (let at = Math.min(1, steps.length - 1); at < steps.length; at += size)
      yield { ...session, steps: [...steps.slice(0, at), ...steps.slice(at + size)] };
  if (session.dma !== "right") yield { ...session, dma: "right" };
  for (const [at, step] of steps.entries()) {
    if (step.kind !== "send" || (step.cuts.length === 0 && !step.joined)) continue;
    const plain = { ...step, cuts: [], fdsWith: 0, joined: false };
    yield { ...session, steps: steps.map((one, i) => (i === at ? plain : one)) };
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const SHOWN_BYTES = 256;

export function formatSession({ seed, steps, dma, end }: Session): string {
  return [
    `session of seed ${seed}, ${steps.length} steps; the server's commands are answered: ${dma}`,
    ...steps.map((step, at) => `${String(at).padStart(4)} ${formatStep(step)}`),
    `     the client leaves: ${end}`,
  ].join("\n");
}

function formatStep(step: Step): string {
  if (step.kind === "other client") return `${step.kind}: ${hex(step.says.subarray(0, SHOWN_BYTES))}`;
  if (step.kind !== "send") return step.kind;
  const { line, bytes, fds, cuts, fdsWith, joined, mutation } = step;
  const how = [
    ...(line === "twin" ? ["twin socket"] : []),
    ...(mutation === undefined ? [] : [mutation]),
    ...(fds.length > 0 ? [`fds with piece ${fdsWith}: ${fds.join(", ")}`] : []),
    ...(cuts.length > 0 ? [`cut at ${cuts.join(", ")}`] : []),
    ...(joined ? ["joined with the next"] : []),
  ];
  const described = describeMessage(bytes);
  const text = formatDescription({ ...described, title: [described.title, ...how].join("; ") });
  const more = bytes.length > SHOWN_BYTES ? ` … (${bytes.length} bytes)` : "";
  return `${text.replaceAll("\n", "\n     ")}\n       = ${hex(bytes.subarray(0, SHOWN_BYTES))}${more}`;
}
