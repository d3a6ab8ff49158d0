import { randomUUID } from "node:crypto";
import { constants, openSync } from "node:fs";
import { lstat, open, readlink, realpath, rename, rm, type FileHandle } from "node:fs/promises";
import { Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { CommandError } from "../errors.js";
import { out } from "../output.js";
import type { FileCodec } from "./codecs.js";
import { encodeContainerHeader } from "./container.js";

/** How often a FIFO is tried that nobody reads yet. */
const FIFO_MS = 50;

/** Where an image goes. */
interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  /** All of it is there: it is for keeps. */
  commit(): Promise<void>;
  /** Nothing of it stays, where that is possible. */
  discard(): Promise<void>;
}

/** An image that is being written: to a file that is there when all of it is, or through a FIFO or standard output. */
export class ImageFile {
  #size = 0;

  private constructor(
    private readonly path: string,
    private readonly sink: Sink,
    private readonly compressed: Compressed | undefined,
  ) {}

  /** Bytes in the file so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * @param path "-": standard output
   * @param signal ends the wait for somebody who reads a FIFO
   * @throws CommandError: it cannot be made, or there is something that it must not replace
   */
  static async create(path: string, codec: FileCodec | undefined, signal?: AbortSignal): Promise<ImageFile> {
    const sink = await named(path, sinkAt(path, signal));
    const image = new ImageFile(path, sink, codec && new Compressed(codec));
    if (codec) await image.#append(encodeContainerHeader(codec.number));
    return image;
  }

  /** @throws CommandError: the disk is full … */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.compressed) {
      await this.#append(bytes);
      return;
    }
    for (const piece of await this.compressed.push(bytes)) await this.#append(piece);
  }

  /** Makes it the file at its path. @throws CommandError */
  async commit(): Promise<void> {
    if (this.compressed) for (const piece of await this.compressed.end()) await this.#append(piece);
    await named(this.path, this.sink.commit());
  }

  /** Nothing of it stays. */
  discard(): Promise<void> {
    return this.sink.discard();
  }

  async #append(bytes: Uint8Array): Promise<void> {
    await named(this.path, this.sink.write(bytes));
    this.#size += bytes.length;
  }
}

/** What the system says, with the name of the file. */
async function named<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof CommandError || !(error instanceof Error)) throw error;
    throw new CommandError(`${path === "-" ? "standard output" : path}: ${error.message}`);
  }
}

async function sinkAt(path: string, signal: AbortSignal | undefined): Promise<Sink> {
  if (path === "-") return new StreamSink(out.stream);
  const there = await kindOf(path);
  if (there === undefined || there.kind === "file") return RegularFile.create(there?.target ?? path);
  if (there.kind === "FIFO") return new StreamSink(await openFifo(path, signal));
  throw new CommandError(
    `${path} is a ${there.kind}: an image goes to a file, a FIFO, or "-" for standard output`,
  );
}

/** What is at the path, behind links; undefined: nothing. */
async function kindOf(path: string): Promise<{ readonly kind: string; readonly target: string } | undefined> {
  let target: string;
  try {
    target = await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    const link = await readlink(path).catch(() => undefined);
    if (link === undefined) return undefined;
    throw new CommandError(`${path} is a link to ${link}, which is not there`);
  }
  const stat = await lstat(target);
  if (stat.isFile()) return { kind: "file", target };
  if (stat.isFIFO()) return { kind: "FIFO", target };
  if (stat.isDirectory()) return { kind: "directory", target };
  if (stat.isSocket()) return { kind: "socket", target };
  return { kind: "device", target };
}

/** As `cat > FIFO` does, it waits for whoever reads it. @throws the signal's reason */
async function openFifo(path: string, signal: AbortSignal | undefined): Promise<Writable> {
  for (;;) {
    try {
      // A blocking open would keep a thread that nothing can interrupt.
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error;
    }
    await sleep(FIFO_MS);
    signal?.throwIfAborted();
  }
}

/** What is written is gone. */
class StreamSink implements Sink {
  constructor(private readonly stream: Writable) {
    // Each write tells, too.
    stream.on("error", () => undefined);
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  commit(): Promise<void> {
    if (this.stream === out.stream) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.stream.once("error", reject).end(resolve);
    });
  }

  discard(): Promise<void> {
    if (this.stream !== out.stream) this.stream.destroy();
    return Promise.resolve();
  }
}

/**
 * A file that is written under another name, and gets its own when it is complete and on the disk: whoever finds it
 * there finds all of it, and what was there before stays until then.
 */
class RegularFile implements Sink {
  private constructor(
    private readonly path: string,
    private readonly temporary: string,
    private readonly file: FileHandle,
  ) {}

  static async create(path: string): Promise<RegularFile> {
    // A process id is no name: in containers everybody is 1.
    const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
    // A guest's state is its owner's.
    return new RegularFile(path, temporary, await open(temporary, "wx", 0o600));
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.file.write(bytes, done);
      done += bytesWritten;
    }
  }

  async commit(): Promise<void> {
    await this.file.sync();
    await this.file.close();
    await rename(this.temporary, this.path);
    // The name is on the disk, too.
    const directory = await open(dirname(this.path));
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  async discard(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await rm(this.temporary, { force: true });
  }
}

/** A compressor's output, piece by piece as it comes. */
class Compressed {
  readonly #stream: ReturnType<FileCodec["compress"]>;
  #pieces: Uint8Array[] = [];

  constructor(codec: FileCodec) {
    this.#stream = codec.compress();
    this.#stream.on("data", (piece: Uint8Array) => this.#pieces.push(piece));
  }

  async push(bytes: Uint8Array): Promise<Uint8Array[]> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
    return this.#pieces.splice(0);
  }

  async end(): Promise<Uint8Array[]> {
    await new Promise<void>((resolve, reject) => {
      this.#stream.once("end", resolve).once("error", reject).end();
    });
    return this.#pieces.splice(0);
  }
}
