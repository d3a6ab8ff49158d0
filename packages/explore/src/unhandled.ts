type Listener = (reason: unknown) => void;

/** What Node, Deno and Bun have, and browsers have not. */
interface ProcessLike {
  on(event: "unhandledRejection", listener: Listener): void;
  off(event: "unhandledRejection", listener: Listener): void;
  listeners(event: "unhandledRejection"): Listener[];
}

interface RejectionEvent {
  readonly reason: unknown;
  preventDefault(): void;
}

interface BrowserLike {
  addEventListener(type: "unhandledrejection", listener: (event: RejectionEvent) => void): void;
  removeEventListener(type: "unhandledrejection", listener: (event: RejectionEvent) => void): void;
}

/**
 * Gets the rejections that nobody handles, instead of those who listened before, until the returned function is
 * called: what the explored program does is a finding, and no reason for the process to end.
 */
export function onUnhandledRejection(listener: Listener): () => void {
  const { process } = globalThis as unknown as { process?: ProcessLike };
  if (process?.on) {
    const others = process.listeners("unhandledRejection");
    for (const other of others) process.off("unhandledRejection", other);
    process.on("unhandledRejection", listener);
    return () => {
      process.off("unhandledRejection", listener);
      for (const other of others) process.on("unhandledRejection", other);
    };
  }
  const browser = globalThis as unknown as BrowserLike;
  const onEvent = (event: RejectionEvent): void => {
    event.preventDefault();
    listener(event.reason);
  };
  browser.addEventListener("unhandledrejection", onEvent);
  return () => browser.removeEventListener("unhandledrejection", onEvent);
}
