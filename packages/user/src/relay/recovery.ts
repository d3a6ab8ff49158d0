import { setTimeout as sleep } from "node:timers/promises";
import { IrqIndex, VfioError } from "@vfiokit/core";
import { EventFdTrigger, SyscallError } from "../linux/index.js";
import { ReplyError } from "../socket/index.js";
import type { Log } from "../server/options.js";
import { assertSameShape, shapeOf } from "./compare.js";
import type { InFlight } from "./in-flight.js";
import { Introduction } from "./introduction.js";
import { openServer } from "./next-server.js";
import type { ServerLink } from "./server-link.js";
import { dropRequests } from "./client-requests.js";
import type { Session } from "./session.js";
import { restoreSnapshot } from "./snapshot.js";

/**
 * What the guest is told when the device has lost state: "error": the client's ERR interrupt (QEMU stops the machine);
 * "reset": nothing, and the device is as after a reset; "none": nothing, and it goes on with what there is.
 */
export type OnLoss = "error" | "reset" | "none";

export interface RecoverySettings {
  readonly log: Log;
  /** Where a server may be: tried in turn. */
  readonly paths: readonly string[];
  /** Milliseconds until the client is given up. */
  readonly timeout: number;
  /** Milliseconds until requests of the client are answered with an error. */
  readonly replyLimit: number;
  readonly onLoss: OnLoss;
  readonly snapshot: readonly Uint8Array[] | undefined;
}

/** Waits between two rounds through `paths`, in milliseconds. */
const FIRST_WAIT_MS = 10;
const MAX_WAIT_MS = 500;

/**
 * The server of a session has gone: finds another, tells it what the client has set up, and has the client go on with it.
 * While there is none, requests of the client wait, and are answered with an error in time.
 * @throws VfioError ETIMEDOUT: there is no server
 */
export async function recover(
  session: Session,
  lost: ServerLink,
  settings: RecoverySettings,
): Promise<ServerLink> {
  const { log, replyLimit } = settings;
  const timer = setTimeout(() => {
    log("warn", `no server within ${replyLimit} ms: the client's requests are answered with errors`);
    answerAll(session, lost.inFlight);
    session.refuse();
  }, replyLimit);
  try {
    const link = await find(session, settings, (found) => takeOver(session, lost, found, settings));
    session.use(link);
    session.requests.sendAgain(lost.inFlight, link);
    session.release();
    return link;
  } finally {
    clearTimeout(timer);
    dropRequests(lost.inFlight);
  }
}

function answerAll(session: Session, lost: InFlight): void {
  for (const slot of lost.slots()) session.requests.answerLost(lost, slot);
}

/** @param prepare of a server that was found. Where it fails, the next one is tried */
async function find(
  session: Session,
  { paths, timeout, log }: RecoverySettings,
  prepare: (link: ServerLink) => Promise<void>,
): Promise<ServerLink> {
  const deadline = performance.now() + timeout;
  const refused = new Map<string, string>();
  for (let wait = FIRST_WAIT_MS; !session.ended; wait = Math.min(2 * wait, MAX_WAIT_MS)) {
    for (const path of paths) {
      try {
        return await connectTo(path, session, prepare);
      } catch (error) {
        if (!isFailure(error)) throw error;
        const { message } = error;
        if (refused.get(path) !== message) log("info", `${path}: ${message}`);
        refused.set(path, message);
      }
    }
    if (performance.now() >= deadline) break;
    await sleep(wait);
  }
  throw new VfioError("ETIMEDOUT", `no server at ${paths.join(" or ")} within ${timeout} ms`);
}

function isFailure(error: unknown): error is Error {
  return error instanceof VfioError || error instanceof SyscallError;
}

async function connectTo(
  path: string,
  session: Session,
  prepare: (link: ServerLink) => Promise<void>,
): Promise<ServerLink> {
  const { link, control } = await openServer(path, session.proposal);
  control?.close();
  try {
    assertSameShape(session.shape, await shapeOf(link), path);
    await prepare(link);
    // It may have gone in the meantime, and so may the client.
    if (link.ended || session.ended) throw new VfioError("ECONNRESET", "gone again");
    return link;
  } catch (error) {
    link.close();
    throw error;
  }
}

/** Makes a server go on where the lost one was, as far as anybody knows that. */
async function takeOver(
  session: Session,
  lost: ServerLink,
  link: ServerLink,
  { log, onLoss, snapshot }: RecoverySettings,
): Promise<void> {
  const introduction = new Introduction(session.requests.setup, link);
  await introduction.maps();
  // Which pages the lost server wrote is not known: the client's next report has to fail.
  session.requests.setup.logging.stopped();
  if (link.instance !== undefined && link.instance === lost.instance) {
    await introduction.irqs();
    log("info", `${link.path}: the same server, connected again: nothing is lost`);
    return;
  }
  const restored = onLoss !== "reset" && (await restore(link, snapshot, log));
  if (!restored) {
    if (onLoss === "reset") await link.call("DEVICE_RESET", {});
    await session.requests.config.restore(link);
  }
  await introduction.irqs();
  const complete = restored && !session.requests.touched;
  const what = restored ? "the last snapshot" : "its power-on state";
  if (complete) {
    log("info", `${link.path} goes on with the last snapshot, after which nothing was asked of the device`);
    return;
  }
  log("warn", `${link.path} goes on with ${what}: state was lost (--on-loss ${onLoss})`);
  if (onLoss !== "error") return;
  session.requests.lost = true;
  reportError(session, log);
}

/** @returns false: there is none, or the device does not take it, and is as after a reset */
async function restore(
  link: ServerLink,
  snapshot: readonly Uint8Array[] | undefined,
  log: Log,
): Promise<boolean> {
  if (!snapshot) return false;
  try {
    await restoreSnapshot(link, snapshot);
    return true;
  } catch (error) {
    if (!(error instanceof ReplyError)) throw error;
    log("warn", `${link.path} does not take the last snapshot: ${error.message}`);
    await link.call("DEVICE_RESET", {});
    return false;
  }
}

/** The ERR interrupt of the device, in its stead: the client learns it whatever server there is. */
function reportError({ requests: { setup } }: Session, log: Log): void {
  const fd = setup.triggerOf(IrqIndex.ERR, 0);
  if (!fd) {
    log("warn", "the client does not listen for device errors");
    return;
  }
  const trigger = new EventFdTrigger(fd.duplicate());
  trigger.signal();
  trigger.close();
}
