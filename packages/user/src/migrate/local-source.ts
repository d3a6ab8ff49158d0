import type { EndpointDescription, MigrationSource, PrecopyProgress } from "./endpoint.js";
import { isAnswer } from "./errors.js";
import { LocalEnd, type LocalEndOptions } from "./local-end.js";

/** The device of a vfio-user server on this host, to be given away. */
export class LocalSource implements MigrationSource, Disposable {
  private constructor(private readonly end: LocalEnd) {}

  /**
   * Connects to the server at `path`, as its only client.
   * @throws VfioError EBUSY: it has another client, or is in a hand-over
   * @throws SyscallError ENOENT, ECONNREFUSED (nobody listens), EACCES …
   */
  static async connect(path: string, options: LocalEndOptions = {}): Promise<LocalSource> {
    return new LocalSource(await LocalEnd.connect(path, options, false));
  }

  /** Over a connection that there is already. */
  static over(end: LocalEnd): LocalSource {
    return new LocalSource(end);
  }

  describe(): Promise<EndpointDescription> {
    return this.end.named(this.end.describe());
  }

  async setState(state: "RUNNING" | "PRE_COPY" | "STOP_COPY" | "STOP"): Promise<void> {
    try {
      await this.end.named(this.end.client.migration.setState(state));
    } catch (error) {
      if (state === "RUNNING" && !isAnswer(error) && (await this.#runsWithoutClient())) return;
      throw error;
    }
  }

  precopy(): Promise<PrecopyProgress | undefined> {
    return this.end.named(this.end.client.migration.precopyInfo());
  }

  dataSize(): Promise<number> {
    return this.end.named(this.end.dataSize());
  }

  read(): Promise<Uint8Array> {
    return this.end.named(this.end.client.migration.read());
  }

  give(id: string, to?: string): Promise<void> {
    return this.end.step("give", id, () => this.end.client.migration.setState("STOP"), to);
  }

  takeBack(id: string): Promise<void> {
    return this.end.step("take-back", id, () => this.end.client.migration.setState("RUNNING"));
  }

  close(): void {
    this.end.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A device whose client is gone has abandoned its migration, and runs, if its server is still there. */
  async #runsWithoutClient(): Promise<boolean> {
    const status = await this.end.control?.status();
    return status?.state === "RUNNING";
  }
}
