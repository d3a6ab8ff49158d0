import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { within } from "./wait.js";

/** Bytes that a card may have been offered and not taken: more than its FIFO holds. */
const WINDOW = 64;

interface FarEnd {
  readonly socket: Socket;
  /** From the card, not yet in the line: it is not this card's turn. */
  early: Buffer[];
  flushed: ((interrupts: Interrupts) => void) | undefined;
}

/** As counted by a card since it was started. */
export interface Interrupts {
  /** How often it signalled the client's eventfd. */
  readonly signals: number;
  /** How often the client unmasked INTx. */
  readonly unmasks: number;
}

interface Message {
  readonly hello?: string;
  readonly sent?: string;
  readonly taken?: number;
  readonly flushed?: true;
  readonly signals?: number;
  readonly unmasks?: number;
}

/**
 * The far end of a line whose card moves from one server process to another (programs/moving-card.js). Bytes go to, and
 * come from, one card at a time. A byte for the guest counts as delivered when a card has taken it into its state.
 */
export class MovingLine implements Disposable {
  received = Buffer.alloc(0);
  /** Of `toGuest`, what cards have taken. */
  taken = 0;
  private toGuest = Buffer.alloc(0);
  private offered = 0;
  private readonly ends = new Map<string, FarEnd>();
  private active: string | undefined;
  private wake: () => void = () => undefined;
  /** Of each card, as of its last turn's end. */
  private readonly interrupts = new Map<string, Interrupts>();

  private constructor(private readonly server: Server) {
    server.on("connection", (socket: Socket) => this.accept(socket));
  }

  static async listen(path: string): Promise<MovingLine> {
    const server = createServer();
    server.listen(path);
    await once(server, "listening");
    return new MovingLine(server);
  }

  /** Waits until the card at `socketPath` is there, and makes it the one whose turn it is. */
  async begin(socketPath: string): Promise<void> {
    await this.until(() => this.ends.has(socketPath), `the card at ${socketPath} is there`);
    this.active = socketPath;
    for (const bytes of this.ends.get(socketPath)!.early.splice(0)) this.take(bytes);
    this.feed();
  }

  /** The turn of the card at `socketPath` is over: it does not run any more. Takes back what it has not taken. */
  async end(socketPath: string): Promise<void> {
    const end = this.ends.get(socketPath)!;
    const interrupts = await within(
      20,
      new Promise<Interrupts>((resolve) => {
        end.flushed = resolve;
        end.socket.write('{"flush":true}\n');
      }),
      () => `the card at ${socketPath} ends its turn`,
    );
    this.interrupts.set(socketPath, interrupts);
    this.active = undefined;
    this.offered = this.taken;
  }

  /** The card at `socketPath` was killed: what it was offered, and has not acknowledged, is lost with it. */
  lose(socketPath: string): void {
    this.ends.delete(socketPath);
    this.active = undefined;
    this.taken = this.offered;
  }

  /** Of all cards together, up to the end of the last turn. */
  get totals(): Interrupts {
    const all = [...this.interrupts.values()];
    const sum = (of: keyof Interrupts): number => all.reduce((total, one) => total + one[of], 0);
    return { signals: sum("signals"), unmasks: sum("unmasks") };
  }

  send(bytes: Uint8Array): void {
    this.toGuest = Buffer.concat([this.toGuest, bytes]);
    this.feed();
  }

  /** Waits until `count` bytes have come from the guest. */
  async receives(count: number, seconds = 60): Promise<void> {
    const what = (): string => `${count} bytes from the guest: ${this.received.length} are there`;
    await this.until(() => this.received.length >= count, what, seconds);
  }

  /** Waits for a text among what has come from the guest, from position `from` on. */
  async hears(text: string, from: number): Promise<void> {
    const what = (): string =>
      `the guest says ${JSON.stringify(text)}: ${this.received.toString("latin1", from)}`;
    await this.until(() => this.received.includes(text, from, "latin1"), what, 30);
  }

  async until(holds: () => boolean, what: string | (() => string), seconds = 60): Promise<void> {
    const wait = async (): Promise<void> => {
      while (!holds()) await new Promise<void>((resolve) => (this.wake = resolve));
    };
    await within(seconds, wait(), () => (typeof what === "string" ? what : what()));
  }

  [Symbol.dispose](): void {
    this.server.close();
    for (const { socket } of this.ends.values()) socket.destroy();
  }

  private accept(socket: Socket): void {
    let path: string | undefined;
    socket.on("error", () => undefined);
    createInterface({ input: socket }).on("line", (line) => {
      const message = JSON.parse(line) as Message;
      if (message.hello !== undefined) {
        path = message.hello;
        this.ends.set(path, { socket, early: [], flushed: undefined });
      } else this.hear(path!, message);
      this.wake();
    });
  }

  private hear(path: string, { sent, taken, flushed, signals, unmasks }: Message): void {
    const end = this.ends.get(path);
    if (!end) return;
    if (sent !== undefined) {
      const bytes = Buffer.from(sent, "base64");
      if (path === this.active) this.take(bytes);
      else end.early.push(bytes);
    }
    if (taken !== undefined) {
      if (path !== this.active) throw new Error(`${path} takes bytes, and it is not its turn`);
      this.taken += taken;
      this.feed();
    }
    if (flushed) end.flushed!({ signals: signals!, unmasks: unmasks! });
  }

  private take(bytes: Buffer): void {
    this.received = Buffer.concat([this.received, bytes]);
  }

  private feed(): void {
    if (this.active === undefined) return;
    const to = Math.min(this.toGuest.length, this.taken + WINDOW);
    if (to <= this.offered) return;
    const data = this.toGuest.subarray(this.offered, to).toString("base64");
    this.ends.get(this.active)!.socket.write(`${JSON.stringify({ data })}\n`);
    this.offered = to;
  }
}
