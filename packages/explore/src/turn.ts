/** What platforms have to run something after all that is ready. */
interface Platform {
  setImmediate?(callback: () => void): unknown;
  MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
}

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

const platform = globalThis as unknown as Platform;

/** Resolves when every promise that could go on without outside help has gone on. */
export const nextTurn: () => Promise<void> = platform.setImmediate
  ? () => new Promise((resolve) => platform.setImmediate!(resolve))
  : () => {
      // A message is a task of the event loop's own, without the delay that browsers give to timers.
      const { port1, port2 } = new platform.MessageChannel();
      return new Promise((resolve) => {
        port1.onmessage = () => {
          port1.close();
          resolve();
        };
        port2.postMessage(undefined);
      });
    };
