import type { Socket } from "node:net";

/**
 * Connections of one address that have not said yet, with a certificate that is accepted, what they want. A host that moves
 * fifty devices at once has as many; the rest of all connections is left for others.
 */
const MAX_STRANGERS_PER_ADDRESS = 56;

/**
 * Who may be connected to a receiver. Strangers must not keep others out: where there are too many, of one address or of
 * all, the one that has been silent for longest makes way for the newest.
 */
export class Admission {
  /** In the order in which they came. */
  readonly #strangers = new Map<string, Socket>();
  readonly #connected = new Set<Socket>();

  /** @param onRefused hears of each that was turned away, or had to make way */
  constructor(
    private readonly maxConnections: number,
    private readonly onRefused: (socket: Socket, why: string) => void,
  ) {}

  get connected(): ReadonlySet<Socket> {
    return this.#connected;
  }

  /** Takes a new connection in, at the expense of another stranger's if need be. */
  enter(socket: Socket): void {
    const { remoteAddress } = socket;
    const ofAddress = [...this.#strangers.values()].filter((one) => one.remoteAddress === remoteAddress);
    if (ofAddress.length >= MAX_STRANGERS_PER_ADDRESS)
      this.#refuse(ofAddress[0]!, `${MAX_STRANGERS_PER_ADDRESS} of this address have said nothing`);
    else if (this.#connected.size >= this.maxConnections) {
      const [longest] = this.#strangers.values();
      const full = `there are ${this.maxConnections}`;
      this.#refuse(longest ?? socket, full);
      if (!longest) return;
    }
    const key = keyOf(socket);
    this.#connected.add(socket);
    this.#strangers.set(key, socket);
    socket.once("close", () => {
      this.#connected.delete(socket);
      if (this.#strangers.get(key) === socket) this.#strangers.delete(key);
    });
  }

  /** The peer at the other end of this connection has been accepted. @param socket the TLS socket, or the plain one */
  accepted(socket: Socket): void {
    this.#strangers.delete(keyOf(socket));
  }

  #refuse(socket: Socket, why: string): void {
    this.onRefused(socket, why);
    this.#connected.delete(socket);
    this.#strangers.delete(keyOf(socket));
    socket.destroy();
  }
}

/** A TLS socket and the plain one below it have the same. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress}|${remotePort}`;
}
