import { IrqIndex, RegionIndex, VfioError } from "@vfiokit/core";
import { PciCommand, PciHeader, PciStatus } from "@vfiokit/core/pci";
import { AdminClient, type DeviceStatus } from "../admin/index.js";
import { controlPath } from "../control/index.js";
import { SyscallError } from "../linux/index.js";
import { HandOverControl } from "../migrate/hand-over-control.js";
import {
  LocalSource,
  LocalTarget,
  migrate,
  type MigrateEvent,
  type MigrateOptions,
  type MigrateResult,
  type MigrationTarget,
} from "../migrate/index.js";
import { LocalEnd } from "../migrate/local-end.js";
import { assertSameShape, shapeOf } from "./compare.js";
import { Introduction } from "./introduction.js";
import { maskIntx } from "./client-setup.js";
import { clientOf } from "./link-client.js";
import { openServer, type OpenServer } from "./next-server.js";
import type { ServerLink } from "./server-link.js";
import type { Session } from "./session.js";

/** What a move is told by whoever asks for it: all but the hooks, which are the relay's. */
export type MoveOptions = Omit<MigrateOptions, "hooks" | "clock"> & {
  /** At every point of every phase. For tests. */
  readonly fault?: (point: string) => void | Promise<void>;
};

/** What moving a device behind a relay cost. */
export interface MoveResult extends MigrateResult {
  /** How long requests of the client were held back, at the most. */
  readonly pause_ms: number;
}

/**
 * Moves the device behind a session to the server at `to`, while the client goes on using it.
 *
 * The client's requests go on to the old server while the device is copied. Then they are held back: until the old
 * server has answered all that it has, has given its last state, and the new one runs with it; or until the old one
 * runs again. Interrupts go from the servers straight to the client's eventfds, and none is lost or doubled: the
 * old server's are delivered when it stops; what it had pending is part of the state, and the new one delivers it.
 *
 * @param replyLimit longest time that requests may be held back before the commit, in milliseconds
 * @param onMoved the client uses `link` from here on
 * @throws MigrateError, and VfioError where nothing was begun: the new server is not reached, or does not fit
 */
export async function move(
  session: Session,
  to: string,
  { fault, ...options }: MoveOptions,
  replyLimit: number,
  onMoved: (link: ServerLink) => void,
  onEvent: (event: MigrateEvent) => void,
): Promise<MoveResult> {
  const old = session.link;
  if (!old) throw new VfioError("EBUSY", "the relay is busy with another server");
  const next = await NextServer.open(session, to);
  const pause = new Pause(session, replyLimit);
  const control = await HandOverControl.open(old.path);
  try {
    assertSameShape(session.shape, await shapeOf(next.link), to);
    await next.introduction.maps();
    const source = LocalSource.over(LocalEnd.over(old.path, clientOf(old), control));
    const signals = [pause.signal, ...(options.signal ? [options.signal] : [])];
    const result = await migrate(
      source,
      next.targetOf(session, old),
      {
        ...options,
        signal: AbortSignal.any(signals),
        hooks: {
          async beforeStop() {
            await pause.begin();
            await next.introduction.maps();
            await next.introduction.irqs();
          },
          afterResume: () => pause.end(),
          async afterActivate() {
            next.moved = true;
            onMoved(next.link);
            pause.end();
            // Nothing of its state may run once more, whoever takes it back.
            await old.call("DEVICE_RESET", {}).catch(() => undefined);
            old.close();
          },
          ...(fault && { fault }),
        },
      },
      onEvent,
    );
    return { ...result, pause_ms: pause.longest };
  } finally {
    // After a failure that left no device running, its requests are refused.
    pause.end();
    control?.close();
    next.close();
  }
}

/** The time in which requests of the client are held back. */
class Pause {
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #since: number | undefined;
  longest = 0;

  constructor(
    private readonly session: Session,
    private readonly limit: number,
  ) {}

  /** Aborts when the client has waited for too long: it would give up. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** @throws VfioError ETIMEDOUT: the old server has not answered what it was asked */
  async begin(): Promise<void> {
    this.#since = performance.now();
    const late = new Promise<never>((_, reject) => {
      this.#timer = setTimeout(() => {
        this.#abort.abort();
        reject(new VfioError("ETIMEDOUT", `the client's requests were held back for ${this.limit} ms`));
      }, this.limit);
    });
    late.catch(() => undefined);
    this.session.hold();
    await Promise.race([this.session.drained(), late]);
  }

  end(): void {
    clearTimeout(this.#timer);
    if (this.#since === undefined) return;
    this.longest = Math.max(this.longest, performance.now() - this.#since);
    this.#since = undefined;
    // Without a server they wait for the next one.
    if (this.session.link) this.session.release();
  }
}

/** The server that the device is to move to: what `move` does before, and beside, the migrationClient. */
class NextServer {
  readonly introduction: Introduction;
  /** The client uses it: it is the session's to end. */
  moved = false;
  /** It was told to log dirty pages, in an attempt that the device's reset has ended. */
  #logs = false;

  private constructor(
    private readonly server: OpenServer,
    session: Session,
  ) {
    this.introduction = new Introduction(session.requests.setup, server.link);
  }

  /** @throws SyscallError ENOENT, ECONNREFUSED …; ReplyError; VfioError */
  static async open(session: Session, path: string): Promise<NextServer> {
    return new NextServer(await openServer(path, session.proposal), session);
  }

  get link(): ServerLink {
    return this.server.link;
  }

  targetOf(session: Session, old: ServerLink): MigrationTarget {
    const target = LocalTarget.over(LocalEnd.over(this.link.path, clientOf(this.link), this.server.control));
    return {
      describe: () => target.describe(),
      begin: () => target.begin(),
      write: (bytes) => target.write(bytes),
      prepare: async (id) => {
        await this.#carryIntxMask(session, old);
        await this.#carryLogging(session, old);
        await target.prepare(id);
      },
      activate: (id) => target.activate(id),
      discard: (id) => target.discard(id),
      close: () => target.close(),
    };
  }

  /** The old server is stopped, and the new one does not run yet: no page is written between the two. */
  async #carryLogging({ requests: { setup } }: Session, old: ServerLink): Promise<void> {
    if (!setup.logging.active && !this.#logs) return;
    await setup.logging.takeFrom(
      old,
      Array.from(setup.maps, ({ request }) => request),
    );
    await setup.logging.beginAt(this.link, this.#logs);
    this.#logs = setup.logging.active;
  }

  close(): void {
    this.server.control?.close();
    if (!this.moved) this.link.close();
  }

  /**
   * INTx masks itself when it is delivered, and the client unmasks it when its guest may have served the device. The line's
   * level migrates; this mask is in nobody's message, and the old server tells it. So a line that was delivered is
   * delivered again when the client has unmasked it, and not before.
   */
  async #carryIntxMask(session: Session, old: ServerLink): Promise<void> {
    if (!session.requests.setup.triggerOf(IrqIndex.INTX, 0)) return;
    const masked = (await masksIntx(old.path)) ?? (await assertsIntx(old));
    await this.link.call("DEVICE_SET_IRQS", maskIntx(masked));
  }
}

/** Undefined: the server does not tell. */
async function masksIntx(path: string): Promise<boolean | undefined> {
  try {
    using admin = new AdminClient(controlPath(path));
    return ((await admin.request({ command: "info" })) as Partial<DeviceStatus>).intxMasked;
  } catch (error) {
    if (error instanceof SyscallError || error instanceof VfioError) return undefined;
    throw error;
  }
}

/** A line that is up, and not disabled, has been delivered. One that was delivered and is down is missed: once too often. */
async function assertsIntx(link: ServerLink): Promise<boolean> {
  const { data } = await link.call("REGION_READ", {
    region: RegionIndex.CONFIG,
    offset: BigInt(PciHeader.COMMAND),
    count: 4,
  });
  const command = data[0]! | (data[1]! << 8);
  const status = data[2]! | (data[3]! << 8);
  return (command & PciCommand.INTX_DISABLE) === 0 && (status & PciStatus.INTERRUPT) !== 0;
}
