import type { Socket } from "node:net";

export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

interface QmpReply {
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

type Message = QmpEvent | QmpReply | { readonly QMP: unknown };

/** QEMU's machine protocol: commands with replies by id, and events in between. */
export class Qmp {
  private readonly replies = new Map<number, PromiseWithResolvers<unknown>>();
  private readonly listeners = new Set<(event: QmpEvent) => void>();
  private lastId = 0;

  /** Takes a socket that QEMU just connected, and leaves its negotiation mode. */
  static async open(socket: Socket): Promise<Qmp> {
    const qmp = new Qmp(socket);
    await qmp.execute("qmp_capabilities");
    return qmp;
  }

  private constructor(private readonly socket: Socket) {
    let rest = "";
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.receive(JSON.parse(line) as Message);
    });
    socket.on("close", () => {
      for (const reply of this.replies.values()) reply.reject(new Error("QEMU closed its QMP socket"));
      this.replies.clear();
    });
  }

  async execute(command: string, args?: object): Promise<unknown> {
    const id = ++this.lastId;
    let settle!: PromiseWithResolvers<unknown>;
    const reply = new Promise((resolve, reject) => (settle = { resolve, reject }));
    this.replies.set(id, settle);
    this.socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return await reply;
    } catch (error) {
      throw new Error(`QMP ${command}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** The next event that matches. Call it before the command that causes the event. */
  event(matches: (event: QmpEvent) => boolean): Promise<QmpEvent> {
    return new Promise((resolve) => {
      const listener = (event: QmpEvent): void => {
        if (!matches(event)) return;
        this.listeners.delete(listener);
        resolve(event);
      };
      this.listeners.add(listener);
    });
  }

  private receive(message: Message): void {
    if ("event" in message) {
      for (const listener of this.listeners) listener(message);
    } else if (!("QMP" in message) && message.id !== undefined) {
      const reply = this.replies.get(message.id);
      this.replies.delete(message.id);
      if (message.error) reply?.reject(new Error(message.error.desc));
      else reply?.resolve(message.return);
    }
  }
}

interface PromiseWithResolvers<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
}
