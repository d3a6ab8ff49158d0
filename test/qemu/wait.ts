import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";

/**
 * Waits for `event` no longer than `seconds`, then fails with a message made at that moment, when the
 * console says the most.
 */
export async function within<T>(seconds: number, event: Promise<T>, describe: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${seconds} s were not enough: ${describe()}`)),
      seconds * 1000,
    );
  });
  try {
    return await Promise.race([event, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** Listens on a Unix socket for QEMU to connect to: it does so before it runs, so nobody has to poll. */
export class Listener implements Disposable {
  private constructor(
    private readonly server: Server,
    /** The first connection. */
    readonly accepted: Promise<Socket>,
  ) {}

  static async open(path: string): Promise<Listener> {
    const server = createServer();
    const accepted = once(server, "connection").then(([connection]) => {
      const socket = connection as Socket;
      // A killed QEMU resets its connections. Who waits on one learns it from "close".
      socket.on("error", () => undefined);
      return socket;
    });
    server.listen(path);
    await once(server, "listening");
    return new Listener(server, accepted);
  }

  [Symbol.dispose](): void {
    this.server.close();
  }
}
