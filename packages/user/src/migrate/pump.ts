import type { MigrationSource, MigrationTarget } from "./endpoint.js";

/** Reads under way, and writes where the target takes several: so many that neither end waits for the pump. */
const IN_FLIGHT = 2;

/** What the pump tells of each chunk. What they return is waited for. */
export interface PumpSteps {
  /** Before a chunk is written. */
  beforeWrite(bytes: number): Promise<void> | undefined;
  /** A chunk has arrived at the target. */
  written(bytes: number): void;
}

/** Takes chunks in their order. */
export interface PumpTarget extends Pick<MigrationTarget, "write"> {
  /** A write may begin only when the last one has ended, as with a file. */
  readonly oneAtATime?: boolean;
}

/**
 * Copies from the source to the target until the source has nothing more, or `limit` bytes are on their way. The next
 * chunks are read while the last are written, in their order. Settles when nothing is under way any more.
 * @returns bytes copied
 */
export async function pump(
  source: Pick<MigrationSource, "read">,
  target: PumpTarget,
  limit: number,
  steps: PumpSteps,
): Promise<number> {
  const reads: Promise<Uint8Array>[] = [];
  const writes: Promise<void>[] = [];
  const mostWrites = target.oneAtATime ? 1 : IN_FLIGHT;
  let copied = 0;
  let ended = false;
  try {
    for (;;) {
      while (!ended && copied < limit && reads.length < IN_FLIGHT) reads.push(observed(source.read()));
      const next = reads[0];
      if (!next) break;
      const bytes = await next;
      void reads.shift();
      if (bytes.length === 0) {
        // Those behind it may have some all the same, in PRE_COPY: they are drained.
        ended = true;
        continue;
      }
      copied += bytes.length;
      const wait = steps.beforeWrite(bytes.length);
      if (wait) await wait;
      if (writes.length === mostWrites) await writes.shift();
      const write = target.write(bytes).then(() => steps.written(bytes.length));
      writes.push(observed(write));
    }
    await Promise.all(writes);
    return copied;
  } finally {
    await Promise.allSettled([...reads, ...writes]);
  }
}

/** A rejection is found when its turn comes: until then it is not an unhandled one. */
function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
