import type { PciDevice } from "@vfiokit/core";
import type { Task } from "@vfiokit/lockdep";
import type { CommandName, ReplyPayload, RequestPayload } from "../wire/index.js";
import type { Lent, MessageFds } from "../socket/index.js";
import type { IoEventFds } from "./io-event-fds.js";
import type { ConnectionSettings } from "./options.js";
import type { PeerLimits } from "./version.js";

/** What a command's handler works with: one client's time with the device. */
export interface Session {
  readonly device: PciDevice;
  /** Owner of the locks that commands take. Commands run one at a time. */
  readonly task: Task;
  readonly settings: ConnectionSettings;
  readonly peer: PeerLimits;
  readonly ioEventFds: IoEventFds;
}

export interface Answer<C extends CommandName> {
  readonly payload: ReplyPayload<C>;
  /** Sent along; they stay the owner's. */
  readonly fds?: Lent;
}

/**
 * Carries out a command. A handler takes the descriptors that it keeps out of `attached.fds`; the rest are closed.
 * @throws VfioError with what to answer (or rejects)
 */
export type Handler<C extends CommandName> = (
  session: Session,
  payload: RequestPayload<C>,
  attached: MessageFds,
) => Answer<C> | Promise<Answer<C>>;

/** A handler of whichever command a message has. */
export type AnyHandler = (
  session: Session,
  payload: unknown,
  attached: MessageFds,
) => Answer<CommandName> | Promise<Answer<CommandName>>;
