/** What platforms have to run something after all that is ready. */
interface Platform {
  readonly setImmediate?: (this: void, callback: () => void) => unknown;
  MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
}

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

const platform = globalThis as unknown as Platform;
// As it is before anything is virtual: this is the explorer's own.
const { setImmediate } = platform;

/** Resolves when every promise that could go on without outside help has gone on. */
export const nextTurn: () => Promise<void> = setImmediate
  ? () => new Promise((resolve) => setImmediate(resolve))
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
