import type { EndpointDescription, MigrationTarget } from "./endpoint.js";
import { LocalEnd, type LocalEndOptions } from "./local-end.js";

/** What a target on this host needs to know. */
export interface LocalTargetOptions extends LocalEndOptions {
  /**
   * A device that was given away in an earlier migration is taken for the target of this one: what it was is dropped by
   * a reset. Default true; false: it is refused, with EBUSY.
   */
  readonly reclaim?: boolean;
}

/** The device of a vfio-user server on this host, to be loaded. */
export class LocalTarget implements MigrationTarget, Disposable {
  #begun = false;

  private constructor(private readonly end: LocalEnd) {}

  /**
   * Connects to the server at `path`, as its only client.
   * @throws VfioError EBUSY: it has another client, or is in a hand-over
   * @throws SyscallError ENOENT, ECONNREFUSED (nobody listens), EACCES …
   */
  static async connect(path: string, options: LocalTargetOptions = {}): Promise<LocalTarget> {
    return new LocalTarget(await LocalEnd.connect(path, options, options.reclaim ?? true));
  }

  /** Over a connection that there is already. */
  static over(end: LocalEnd): LocalTarget {
    return new LocalTarget(end);
  }

  describe(): Promise<EndpointDescription> {
    return this.end.named(this.end.describe());
  }

  async begin(): Promise<void> {
    const { client } = this.end;
    const { migration } = client;
    this.#begun = true;
    // Nothing but a reset drops what a device in RESUMING has received.
    if ((await this.end.named(migration.state())) !== "RUNNING") await this.end.named(client.reset());
    await this.end.named(migration.setState("RESUMING"));
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.end.named(this.end.client.migration.write(bytes));
  }

  prepare(id: string): Promise<void> {
    // In one step: a reset just before a STOP of its own would make a device that runs stop.
    return this.end.step("prepare", id, () => this.end.client.migration.setState("STOP"));
  }

  activate(id: string): Promise<void> {
    return this.end.step("activate", id, () => this.end.client.migration.setState("RUNNING"));
  }

  discard(id: string): Promise<void> {
    return this.end.step("discard", id, async () => {
      if (this.#begun) await this.end.client.reset();
    });
  }

  close(): void {
    this.end.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
