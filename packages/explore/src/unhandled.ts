type Listener = (first: never, second: never) => void;

/** What Node, Deno and Bun have, and browsers have not. */
interface ProcessLike {
  on(event: string, listener: Listener): void;
  off(event: string, listener: Listener): void;
  listeners(event: string): Listener[];
}

interface BrowserEvent {
  readonly promise: object;
  readonly reason?: unknown;
  readonly error?: unknown;
  preventDefault(): void;
}

interface BrowserLike {
  addEventListener(type: string, listener: (event: BrowserEvent) => void): void;
  removeEventListener(type: string, listener: (event: BrowserEvent) => void): void;
}

/**
 * Gets the rejections that nobody handles so far, and those that somebody handles after all, instead of those who
 * listened before, until the returned function is called: what the explored program does is a finding, and no reason
 * for the process to end.
 */
export function onUnhandledRejection(
  listener: (reason: unknown, promise: object) => void,
  handled: (promise: object) => void,
): () => void {
  const stops = [
    instead("unhandledRejection", listener, "unhandledrejection", ({ reason, promise }) =>
      listener(reason, promise),
    ),
    instead("rejectionHandled", handled, "rejectionhandled", ({ promise }) => handled(promise)),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

/** The same for what callbacks throw: of queueMicrotask, of process.nextTick, of event targets. */
export function onUncaughtException(listener: (error: unknown) => void): () => void {
  return instead("uncaughtException", listener, "error", ({ error }) => listener(error));
}

function instead(
  event: string,
  listener: Listener,
  inBrowsers: string,
  told: (event: BrowserEvent) => void,
): () => void {
  const { process } = globalThis as unknown as { process?: ProcessLike };
  if (process?.on) {
    const others = process.listeners(event);
    for (const other of others) process.off(event, other);
    process.on(event, listener);
    return () => {
      process.off(event, listener);
      for (const other of others) process.on(event, other);
    };
  }
  const browser = globalThis as unknown as BrowserLike;
  const onEvent = (event: BrowserEvent): void => {
    event.preventDefault();
    told(event);
  };
  browser.addEventListener(inBrowsers, onEvent);
  return () => browser.removeEventListener(inBrowsers, onEvent);
}
