import { VfioError } from "@vfiokit/core";
import { MigrationFlags, type MigrationStateName, type StreamLayout } from "@vfiokit/core/migration";
import {
  EndpointGoneError,
  type EndpointDescription,
  type MigrationSource,
  type MigrationTarget,
  type PrecopyProgress,
} from "@vfiokit/user";
import { identity, type FakeClock } from "./support.js";

/** What can happen to an operation at an end. */
export type Fault =
  /** It is refused; nothing was done. */
  | "refused"
  /** The device is reset before it, or after it. */
  | "reset-before"
  | "reset-after"
  /** The server is killed before it, or after it and before its answer. */
  | "killed-before"
  | "killed-after"
  /** Nobody hears of the answer: it was not done, or it was. */
  | "lost-before"
  | "lost-after";

/** Which fault happens at which operation, counted over both ends. */
export type Faults = (operation: number, end: "source" | "target", name: string) => Fault | undefined;

const noFaults: Faults = () => undefined;

/** What both ends have in common: a device that can be reset, in a server that can be killed. */
abstract class FakeEnd {
  alive = true;
  generation = 0;
  /** What the guest would find in the device. */
  content = "";
  readonly calls: string[] = [];
  identity = identity;
  flags: number = MigrationFlags.STOP_COPY | MigrationFlags.PRE_COPY;
  handOver = true;
  stream: StreamLayout | undefined;
  /** After every operation and reset. */
  observe: () => void = () => undefined;

  constructor(
    private readonly side: "source" | "target",
    private readonly counter: { next: number },
    private readonly faults: Faults,
  ) {}

  abstract reset(): void;
  abstract readonly stateName: MigrationStateName;

  kill(): void {
    this.alive = false;
  }

  assertAlive(name: string): void {
    if (!this.alive) throw this.#gone(name);
  }

  describe(): Promise<EndpointDescription> {
    const { identity, flags, stateName: state, generation, handOver, stream } = this;
    return this.perform("describe", () => ({
      name: this.side,
      identity,
      flags,
      state,
      generation,
      handOver,
      ...(stream && { stream }),
    }));
  }

  close(): void {
    // Nothing is open.
  }

  protected async perform<T>(name: string, operation: () => T): Promise<T> {
    this.calls.push(name);
    const fault = this.faults(this.counter.next++, this.side, name);
    await Promise.resolve();
    if (fault === "killed-before") this.kill();
    this.assertAlive(name);
    if (fault === "refused") throw new VfioError("EIO", `${this.side}: ${name} is refused`);
    if (fault === "lost-before") throw this.#lost(name);
    if (fault === "reset-before") this.reset();
    const result = operation();
    if (fault === "reset-after") this.reset();
    if (fault === "killed-after") this.kill();
    this.observe();
    this.assertAlive(name);
    if (fault === "lost-after") throw this.#lost(name);
    return result;
  }

  /** As the local ends have it: the control socket tells that the server is gone, the device's only that it is. */
  #gone(name: string): VfioError {
    const tells = ["give", "takeBack", "activate", "discard", "setState RUNNING"];
    return tells.includes(name)
      ? new EndpointGoneError(`${this.side}: the server has ended`)
      : new VfioError("ECONNRESET", `${this.side}: the connection is gone`);
  }

  #lost(name: string): VfioError {
    return new VfioError("ETIMEDOUT", `${this.side}: no answer to ${name}`);
  }
}

/** A device of so many chunks, of which some change while it runs. */
export class FakeSource extends FakeEnd implements MigrationSource {
  state: MigrationStateName = "RUNNING";
  given: string | undefined;
  /** Its content when it was stopped last. */
  stoppedContent: string | undefined;
  chunkSize = 1024;
  /** Chunks that were never sent. */
  initial = 8;
  /** Chunks that were sent and have changed. */
  dirty = 0;
  /** How many change while one is sent; as a function of the chunks sent so far. */
  dirtied: (sent: number) => number = () => 0;
  /** Whether the server tells what is still to be sent, in PRE_COPY. */
  tells = true;
  /** How long it takes to send a chunk. */
  clock: { readonly of: FakeClock; readonly msPerChunk: number } | undefined;
  #sent = 0;
  /** Generation that the session was opened in. */
  #session: number | undefined;
  #ended = false;
  #takenBack = new Set<string>();

  get stateName(): MigrationStateName {
    return this.state;
  }

  get runs(): boolean {
    return this.alive && this.given === undefined && (this.state === "RUNNING" || this.state === "PRE_COPY");
  }

  reset(): void {
    this.generation++;
    this.content = `power-on ${this.generation}`;
    if (this.given === undefined) this.state = "RUNNING";
    this.observe();
  }

  setState(state: "RUNNING" | "PRE_COPY" | "STOP_COPY" | "STOP"): Promise<void> {
    return this.perform(`setState ${state}`, () => {
      if (this.given !== undefined) throw new VfioError("EBUSY", "source: it was given away");
      if (state === "PRE_COPY" || (state === "STOP_COPY" && this.state !== "PRE_COPY")) {
        this.#session = this.generation;
        this.#ended = false;
        this.#sent = 0;
      }
      if (state === "STOP_COPY") this.stoppedContent = this.content;
      this.state = state;
    });
  }

  precopy(): Promise<PrecopyProgress | undefined> {
    const { chunkSize, initial, dirty, tells } = this;
    return this.perform("precopy", () =>
      tells
        ? { initialBytes: Math.max(0, initial - this.#sent) * chunkSize, dirtyBytes: dirty * chunkSize }
        : undefined,
    );
  }

  dataSize(): Promise<number> {
    return this.perform("dataSize", () => this.#left() * this.chunkSize);
  }

  /** Chunks, and when the device is stopped its content as the last one. */
  read(): Promise<Uint8Array> {
    return this.perform("read", () => {
      if (this.#session !== this.generation) throw new VfioError("ENODEV", "source: the session has ended");
      if (this.#left() > 0) return this.#chunk();
      if (this.state !== "STOP_COPY" || this.#ended) return new Uint8Array();
      this.#ended = true;
      return new TextEncoder().encode(`end:${this.content}`);
    });
  }

  give(id: string): Promise<void> {
    return this.perform("give", () => {
      if (this.#takenBack.has(id)) throw new VfioError("ECANCELED", "source: this one was taken back");
      if (this.state !== "STOP_COPY" || this.#session !== this.generation || !this.#ended)
        throw new VfioError("ECANCELED", "source: it has no image");
      this.state = "STOP";
      this.given = id;
    });
  }

  takeBack(id: string): Promise<void> {
    return this.perform("takeBack", () => {
      this.#takenBack.add(id);
      this.given = undefined;
      this.state = "RUNNING";
    });
  }

  #left(): number {
    return Math.max(0, this.initial - this.#sent) + this.dirty;
  }

  #chunk(): Uint8Array {
    this.clock?.of.pass(this.clock.msPerChunk);
    if (this.#sent >= this.initial) this.dirty--;
    this.#sent++;
    if (this.state === "PRE_COPY") this.dirty += this.dirtied(this.#sent);
    return new Uint8Array(this.chunkSize);
  }
}

export class FakeTarget extends FakeEnd implements MigrationTarget {
  state: MigrationStateName = "RUNNING";
  prepared: string | undefined;
  /** Runs on an image. */
  activated: string | undefined;
  /** Of the image that it was activated with. */
  activatedContent: string | undefined;
  received = 0;
  #image: string | undefined;
  #over = new Set<string>();

  get stateName(): MigrationStateName {
    return this.state;
  }

  /** Runs on what it has got. */
  get runs(): boolean {
    return this.alive && this.activated !== undefined;
  }

  reset(): void {
    this.generation++;
    this.#image = undefined;
    this.content = `power-on ${this.generation}`;
    if (this.prepared === undefined) this.state = "RUNNING";
  }

  begin(): Promise<void> {
    return this.perform("begin", () => {
      this.#image = undefined;
      this.state = "RESUMING";
    });
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.perform("write", () => {
      if (this.state !== "RESUMING") throw new VfioError("ENODEV", "target: the session has ended");
      this.received += bytes.length;
      const text = new TextDecoder().decode(bytes);
      if (text.startsWith("end:")) this.#image = text.slice("end:".length);
    });
  }

  prepare(id: string): Promise<void> {
    return this.perform("prepare", () => {
      if (this.#over.has(id) || this.state !== "RESUMING")
        throw new VfioError("ECANCELED", "target: it was reset");
      if (this.#image === undefined) throw new VfioError("EINVAL", "target: the image is incomplete");
      this.state = "STOP";
      this.prepared = id;
    });
  }

  activate(id: string): Promise<void> {
    return this.perform("activate", () => {
      if (this.prepared !== id) throw new VfioError("ECANCELED", "target: it is not prepared");
      this.prepared = undefined;
      this.state = "RUNNING";
      this.#over.add(id);
      if (this.#image === undefined) throw new VfioError("ECANCELED", "target: the image was lost");
      this.content = this.activatedContent = this.#image;
      this.activated = id;
    });
  }

  discard(id: string): Promise<void> {
    return this.perform("discard", () => {
      if (this.activated === id) throw new VfioError("EBUSY", "target: it was activated");
      this.prepared = undefined;
      this.#over.add(id);
      if (this.state !== "RUNNING") this.reset();
      this.state = "RUNNING";
    });
  }
}

/** A source whose device has content, and a target. */
export function fakeEnds(faults: Faults = noFaults): { source: FakeSource; target: FakeTarget } {
  const counter = { next: 0 };
  const source = new FakeSource("source", counter, faults);
  const target = new FakeTarget("target", counter, faults);
  source.content = "the guest's";
  return { source, target };
}
