/** The card's side of the wire, as the far end sees it. */
export interface SerialWire {
  /**
   * Offers characters `bytes[from]` to `bytes[to - 1]`. The card takes as many as it has room for and returns how
   * many; if not all, the far end keeps the rest until `ready` is called.
   */
  receive(bytes: Uint8Array, from: number, to: number): number;
  /** A break condition arrives. */
  receiveBreak(): void;
  /** There is room again, after `send` returned false. */
  writable(): void;
}

/**
 * What is at the other end of the wire: a terminal, a socket, a file. Nothing is lost in either direction:
 * whoever has no room says so, and the other waits.
 */
export interface SerialBackend {
  /** Called once, before anything else. */
  attach(wire: SerialWire): void;
  /** Takes one character. False: no room, and the character stays in the card until `wire.writable()`. */
  send(character: number): boolean;
  /** The card has room again, after `wire.receive` took less than it was offered. */
  ready(): void;
  /** The card holds the line at spacing, or lets it go. */
  sendBreak?(on: boolean): void;
  /** The card is being taken away. What `send` took is still delivered. */
  close?(): void;
}

/** Takes everything, sends nothing. */
export function nullBackend(): SerialBackend {
  return { attach: () => undefined, send: () => true, ready: () => undefined };
}

/** A plug that wires the card's output to its own input. */
export function loopbackBackend(): SerialBackend {
  let wire: SerialWire | undefined;
  const character = new Uint8Array(1);
  return {
    attach: (attached) => (wire = attached),
    send(value) {
      character[0] = value;
      return wire!.receive(character, 0, 1) === 1;
    },
    ready: () => wire!.writable(),
    sendBreak(on) {
      if (on) wire!.receiveBreak();
    },
  };
}
