declare const setImmediate: ((callback: () => void) => unknown) | undefined;

/** Resolves when every promise that could go on without outside help has gone on. */
export const nextTurn: () => Promise<void> =
  typeof setImmediate === "function"
    ? () => new Promise((resolve) => setImmediate(resolve))
    : () => {
        // A message is a task of the event loop's own, without the delay that browsers give to timers.
        const { port1, port2 } = new MessageChannel();
        return new Promise((resolve) => {
          port1.onmessage = () => {
            port1.close();
            resolve();
          };
          port2.postMessage(undefined);
        });
      };
