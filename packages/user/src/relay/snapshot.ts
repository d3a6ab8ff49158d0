import { VfioError } from "@vfiokit/core";
import { MigrationFlags } from "@vfiokit/core/migration";
import type { Log } from "../server/options.js";
import { clientOf } from "./link-client.js";
import type { ServerLink } from "./server-link.js";
import type { Session } from "./session.js";

/** A snapshot is kept in memory, two of them while one is made. Bytes. */
const MAX_SNAPSHOT = 256 * 1024 * 1024;

/** The state of the device of a session, taken now and then. */
export class Snapshots {
  /** The last one, in the pieces in which it came. */
  latest: readonly Uint8Array[] | undefined;
  /** How many were taken. */
  count = 0;
  #timer: NodeJS.Timeout | undefined;
  #over = false;

  /** @param every milliseconds from the end of one to the next */
  constructor(
    private readonly session: Session,
    private readonly every: number,
    private readonly log: Log,
  ) {
    this.#arm();
  }

  stop(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  /**
   * Takes one now, if nothing else goes on. The client's requests wait while the device is stopped for it.
   * @returns whether it was taken
   */
  async take(): Promise<boolean> {
    const { session } = this;
    const { link } = session;
    if (!link || session.busy || session.gate !== "open") return false;
    return session.exclusively(async () => {
      try {
        const { pieces, size } = await copyState(session, link, () => (session.requests.touched = false));
        this.latest = pieces;
        this.count++;
        this.log("debug", `snapshot of ${size} bytes`);
        return true;
      } catch (error) {
        if (!(error instanceof VfioError)) throw error;
        this.log("warn", `no snapshot: ${error.message}`);
        return false;
      }
    });
  }

  #arm(): void {
    this.#timer = setTimeout(() => {
      void this.take().then(() => {
        if (!this.#over) this.#arm();
      });
    }, this.every);
  }
}

/** A device's state, in the pieces in which it came. */
export interface CopiedState {
  readonly pieces: readonly Uint8Array[];
  /** Bytes. */
  readonly size: number;
  /** How long the client's requests waited. */
  readonly paused_ms: number;
}

/**
 * Copies the state of a session's device, which runs on: most of a large one while it runs, the rest while the client's
 * requests wait.
 * @param copied called when all is copied and the client still waits
 * @throws VfioError EMSGSIZE: it is too large to be kept; what the server answers
 */
export async function copyState(
  session: Session,
  link: ServerLink,
  copied: () => void = () => undefined,
): Promise<CopiedState> {
  const { migration } = clientOf(link);
  const pieces: Uint8Array[] = [];
  let size = 0;
  let heldAt: number | undefined;
  const readAll = async (): Promise<void> => {
    for await (const piece of migration.stream()) {
      size += piece.length;
      if (size > MAX_SNAPSHOT) throw new VfioError("EMSGSIZE", `it has more than ${MAX_SNAPSHOT} bytes`);
      pieces.push(piece);
    }
  };
  try {
    try {
      if ((await migration.flags()) & MigrationFlags.PRE_COPY) {
        await migration.setState("PRE_COPY");
        await readAll();
      }
      heldAt = performance.now();
      session.hold();
      await session.drained();
      await migration.setState("STOP_COPY");
      await readAll();
      copied();
    } finally {
      await migration.setState("RUNNING");
    }
    return { pieces, size, paused_ms: performance.now() - heldAt };
  } finally {
    if (session.link) session.release();
  }
}

/** Loads a snapshot into a device, which runs with it. @throws ReplyError: the device does not take it */
export async function restoreSnapshot(link: ServerLink, pieces: readonly Uint8Array[]): Promise<void> {
  const { migration } = clientOf(link);
  await migration.setState("RESUMING");
  for (const piece of pieces) await migration.write(piece);
  await migration.setState("STOP");
  await migration.setState("RUNNING");
}
