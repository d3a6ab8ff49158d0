import { Header, HeaderFlags } from "../wire/index.js";
import { protocolError, type Inbox, type MessageSocket } from "../socket/index.js";
import { InFlight } from "./in-flight.js";

/** Commands of servers that the client has and has not answered, and to whom each answer goes. */
export class ServerCommands {
  readonly #inFlight = new InFlight();
  /** Undefined: to nobody, as its server has gone. */
  readonly #askedBy: (MessageSocket | undefined)[] = [];

  get count(): number {
    return this.#inFlight.count;
  }

  get full(): boolean {
    return this.#inFlight.full;
  }

  /** Answers that a server waits for. */
  get owed(): number {
    return this.#askedBy.filter((asker) => asker).length;
  }

  /** The command at the head of the inbox of `from` goes to the client. Not while full. */
  forward(from: MessageSocket, size: number, to: MessageSocket): void {
    const { inbox } = from;
    const { view, head } = inbox;
    if (view.getUint32(head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) {
      to.pass(inbox, head, size, view.getUint16(head + Header.offset.msg_id, true));
      return;
    }
    const slot = this.#inFlight.add(inbox, size);
    this.#askedBy[slot] = from;
    to.pass(inbox, head, size, slot);
  }

  /** The client's answer to a command, at `at` in its inbox, goes back. */
  answer(inbox: Inbox, at: number, size: number): void {
    const slot = inbox.view.getUint16(at + Header.offset.msg_id, true);
    const cmd = inbox.view.getUint16(at + Header.offset.cmd, true);
    if (!this.#inFlight.has(slot) || this.#inFlight.commandOf(slot) !== cmd)
      throw protocolError(`an answer ${slot} to command ${cmd}, which was not sent`);
    const id = this.#inFlight.idOf(slot);
    const asker = this.#askedBy[slot];
    this.#inFlight.remove(slot);
    this.#askedBy[slot] = undefined;
    if (!asker || asker.closed) return;
    asker.pass(inbox, at, size, id);
    asker.flush();
  }

  /** Their server has gone: answers to them go nowhere. */
  orphan(): void {
    for (const slot of this.#inFlight.slots()) this.#askedBy[slot] = undefined;
  }
}
