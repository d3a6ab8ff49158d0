type Listener = (reason: unknown) => void;
type Event = "unhandledRejection" | "uncaughtException";

/** What Node, Deno and Bun have, and browsers have not. */
interface ProcessLike {
  on(event: Event, listener: Listener): void;
  off(event: Event, listener: Listener): void;
  listeners(event: Event): Listener[];
}

interface BrowserEvent {
  readonly reason?: unknown;
  readonly error?: unknown;
  preventDefault(): void;
}

interface BrowserLike {
  addEventListener(type: string, listener: (event: BrowserEvent) => void): void;
  removeEventListener(type: string, listener: (event: BrowserEvent) => void): void;
}

/**
 * Gets the rejections that nobody handles, instead of those who listened before, until the returned function is
 * called: what the explored program does is a finding, and no reason for the process to end.
 */
export function onUnhandledRejection(listener: Listener): () => void {
  return instead("unhandledRejection", "unhandledrejection", ({ reason }) => reason, listener);
}

/** The same for what callbacks throw: of queueMicrotask, of process.nextTick, of event targets. */
export function onUncaughtException(listener: Listener): () => void {
  return instead("uncaughtException", "error", ({ error }) => error, listener);
}

function instead(
  event: Event,
  inBrowsers: string,
  what: (event: BrowserEvent) => unknown,
  listener: Listener,
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
    listener(what(event));
  };
  browser.addEventListener(inBrowsers, onEvent);
  return () => browser.removeEventListener(inBrowsers, onEvent);
}
