/** What Node, Deno and Bun have, and browsers have not. */
interface ProcessLike {
  on(event: "unhandledRejection", listener: (reason: unknown) => void): void;
  off(event: "unhandledRejection", listener: (reason: unknown) => void): void;
}

/** Listens until the returned function is called. */
export function onUnhandledRejection(listener: (reason: unknown) => void): () => void {
  const { process } = globalThis as { process?: ProcessLike };
  if (process?.on) {
    process.on("unhandledRejection", listener);
    return () => process.off("unhandledRejection", listener);
  }
  const onEvent = (event: Event): void => {
    event.preventDefault();
    listener((event as PromiseRejectionEvent).reason);
  };
  globalThis.addEventListener("unhandledrejection", onEvent);
  return () => globalThis.removeEventListener("unhandledrejection", onEvent);
}
