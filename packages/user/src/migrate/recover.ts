import { VfioError } from "@vfiokit/core";
import { AdminClient, type AdminRequest, type HandOverReport } from "../admin/index.js";
import { controlPath } from "../control/index.js";
import { connectUnix, nobodyListens, SyscallError } from "../linux/index.js";
import {
  decideRecovery,
  handOverOf,
  type RecoveryAction,
  type RecoveryStep,
  type SideState,
} from "./decide-recovery.js";

/** One side of a hand-over, as whoever recovers it reaches it. */
export interface RecoverySide {
  readonly name: string;
  /** @param id the hand-over whose outcome is asked for */
  state(id?: string): Promise<SideState>;
  /** @throws VfioError: what the device answers, or why it does not */
  step(step: RecoveryStep["step"], id: string): Promise<unknown>;
}

/** How often what was found may change under one's hands: a reset, or a migration client that is still alive. */
const MAX_ATTEMPTS = 4;

/**
 * Ends a hand-over that was left in the middle: `decideRecovery` says how, from what both sides are. Can be repeated, and
 * can be called while a migration client is still at work: then that one fails, or this finds nothing to do.
 * @param id default: the one that the sides are in
 * @returns what was done, and who runs the device; nothing was done where that cannot be decided
 * @throws VfioError: a step failed; the message says how it is now
 */
export async function recover(
  source: RecoverySide,
  target: RecoverySide,
  id?: string,
): Promise<RecoveryAction> {
  for (let attempt = 1; ; attempt++) {
    const action = await decide(source, target, id);
    try {
      for (const { side, step } of action.steps)
        await (side === "source" ? source : target).step(step, action.id!);
      return action;
    } catch (error) {
      if (!(error instanceof VfioError) && !(error instanceof SyscallError)) throw error;
      if (attempt < MAX_ATTEMPTS) continue;
      throw new VfioError(
        "EIO",
        `${action.message}. But that fails (${error.message}): when that is mended, recover again. ` +
          `${source.name} ${phaseOf(await source.state())}, ${target.name} ${phaseOf(await target.state())}`,
      );
    }
  }
}

/** The states of both, then what to do. */
async function decide(
  source: RecoverySide,
  target: RecoverySide,
  id: string | undefined,
): Promise<RecoveryAction> {
  const about = id ?? handOverOf(await source.state(), await target.state());
  return decideRecovery(await source.state(about), await target.state(about), about);
}

function phaseOf(side: SideState): string {
  if (side.kind !== "answers") return side.kind === "gone" ? "is gone" : "does not answer";
  const { phase, state } = side.report;
  return phase === "none" ? `is in ${state}` : `is ${phase}`;
}

/** Codes of a connection that the server has ended. */
const ENDED: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE"]);
/** A step waits for the device's locks, which a reset or a transition may have. */
const TIMEOUT_MS = 30_000;

/** A vfio-user server on this host, by the path of its socket; its control socket is beside that. */
export function localSide(path: string, ctl = controlPath(path)): RecoverySide {
  return {
    name: path,
    async state(id) {
      const request = { command: "hand-over", step: "status", ...(id !== undefined && { id }) } as const;
      try {
        return { kind: "answers", name: path, report: await ask(ctl, request) };
      } catch (error) {
        return stateWithout(error, path);
      }
    },
    step: (step, id) => ask(ctl, { command: "hand-over", step, id }),
  };
}

/** What becomes of a side whose control socket gives no report. */
function stateWithout(error: unknown, path: string): SideState {
  const unreachable = (why: string): SideState => ({ kind: "unreachable", name: path, why });
  if (!nobodyListens(error)) return unreachable(messageOf(error));
  try {
    connectUnix(path).close();
    return unreachable("it is served without a control socket");
  } catch (other) {
    return nobodyListens(other) ? { kind: "gone", name: path } : unreachable(messageOf(other));
  }
}

/** @throws whatever is neither an answer nor a failure of the socket: a bug */
function messageOf(error: unknown): string {
  if (error instanceof VfioError || error instanceof SyscallError) return error.message;
  throw error;
}

/** @throws SyscallError: nobody is there; VfioError: what is answered; ETIMEDOUT, ECONNRESET, EPIPE: nothing is */
async function ask(path: string, request: AdminRequest<"hand-over">): Promise<HandOverReport> {
  try {
    return await askOnce(path, request);
  } catch (error) {
    if (!(error instanceof VfioError) || !ENDED.has(error.code)) throw error;
    return askOnce(path, request); // a server that ended meanwhile: now nobody is there
  }
}

async function askOnce(path: string, request: AdminRequest<"hand-over">): Promise<HandOverReport> {
  using client = new AdminClient(path);
  return await client.request(request, { timeoutMs: TIMEOUT_MS });
}
