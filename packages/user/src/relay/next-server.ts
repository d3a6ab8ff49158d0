import { HandOverControl } from "../migrate/hand-over-control.js";
import type { RequestPayload } from "../wire/index.js";
import { dial } from "../socket/index.js";
import { ServerLink } from "./server-link.js";

/** Milliseconds in which a server has to answer VERSION. */
const VERSION_TIMEOUT_MS = 4000;

/** A server that the relay has connected to, with its control socket where it has one. */
export interface OpenServer {
  readonly link: ServerLink;
  readonly control: HandOverControl | undefined;
}

/**
 * Connects to a server that is to take over. A device there that was given away in an earlier move is dropped, and used
 * again.
 * @throws SyscallError ENOENT, ECONNREFUSED …; ReplyError; VfioError where it cannot be talked to
 */
export async function openServer(path: string, version: RequestPayload<"VERSION">): Promise<OpenServer> {
  const control = await HandOverControl.open(path, undefined, VERSION_TIMEOUT_MS);
  try {
    const status = await control?.status();
    if (status?.phase === "given") await control!.reclaim(status.id!);
    const fd = await dial(path, VERSION_TIMEOUT_MS);
    const link = await ServerLink.open(fd, path, version, VERSION_TIMEOUT_MS);
    link.instance = status?.instance;
    return { link, control };
  } catch (error) {
    control?.close();
    throw error;
  }
}
