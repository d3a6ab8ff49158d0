import { createReadStream, type ReadStream } from "node:fs";
import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline, type Readable } from "node:stream";
import { CommandError } from "../errors.js";
import { fileCodecs, type FileCodec } from "./codecs.js";
import { CONTAINER_HEADER, containerCodec, encodeContainerHeader } from "./container.js";

const CHUNK = 1024 * 1024;

/**
 * A file that is written under another name, and gets its own when it is complete and on the disk: whoever finds it
 * there finds all of it, and what was there before stays until then.
 */
export class ImageFile {
  #size = 0;

  private constructor(
    private readonly path: string,
    private readonly temporary: string,
    private readonly file: FileHandle,
    private readonly compressed: Compressed | undefined,
  ) {}

  /** Bytes in the file so far. */
  get size(): number {
    return this.#size;
  }

  /** @throws CommandError: it cannot be made */
  static async create(path: string, codec: FileCodec | undefined): Promise<ImageFile> {
    const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.partial`);
    let file: FileHandle;
    try {
      // A guest's state is its owner's.
      file = await open(temporary, "wx", 0o600);
    } catch (error) {
      throw new CommandError(`${path}: ${(error as Error).message}`);
    }
    const image = new ImageFile(path, temporary, file, codec && new Compressed(codec));
    if (codec) await image.#append(encodeContainerHeader(codec.number));
    return image;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.compressed) {
      await this.#append(bytes);
      return;
    }
    for (const piece of await this.compressed.push(bytes)) await this.#append(piece);
  }

  /** Makes it the file at its path. */
  async commit(): Promise<void> {
    if (this.compressed) for (const piece of await this.compressed.end()) await this.#append(piece);
    await this.file.sync();
    await this.file.close();
    await rename(this.temporary, this.path);
    // The name is on the disk, too.
    const directory = await open(dirname(this.path));
    await directory.sync();
    await directory.close();
  }

  /** Nothing of it stays. */
  async discard(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await rm(this.temporary, { force: true });
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.file.write(bytes, done);
      done += bytesWritten;
    }
    this.#size += bytes.length;
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

/** The migration stream in a file, decompressed. */
export interface OpenedImage {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** What the file is compressed with; undefined: not at all. */
  readonly codec: string | undefined;
}

/**
 * Opens the image at `path`; "-" is standard input.
 * @throws CommandError: it cannot be read, or not with this Node. So do the chunks
 */
export async function openImage(
  path: string,
  codecs: readonly FileCodec[] = fileCodecs,
): Promise<OpenedImage> {
  const source: ReadStream | NodeJS.ReadStream =
    path === "-" ? process.stdin : createReadStream(path, { highWaterMark: CHUNK });
  const name = path === "-" ? "standard input" : path;
  const input = readable(name, source);
  const start = await startOf(input);
  const number = containerCodec(name, start);
  if (number === undefined) return { chunks: joined(start, input), codec: undefined };
  const codec = codecs.find((one) => one.number === number);
  if (!codec)
    throw new CommandError(
      `${name}: compressed (codec ${number}), which this vfiokit cannot read: zstd needs Node 22.15 or newer, and this ` +
        `is ${process.version}`,
    );
  const plain = codec.decompress();
  pipeline(joined(start.subarray(CONTAINER_HEADER), input), plain, () => undefined);
  return { chunks: readable(name, plain), codec: codec.name };
}

async function* readable(name: string, source: Readable): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of source) yield chunk as Uint8Array;
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError(`${name}: ${(error as Error).message}`);
  }
}

/** Enough of the beginning to tell what it is; less where there is no more. */
async function startOf(input: AsyncGenerator<Uint8Array>): Promise<Uint8Array> {
  let start: Uint8Array = new Uint8Array();
  while (start.length < CONTAINER_HEADER) {
    const next = await input.next();
    if (next.done) break;
    start = start.length === 0 ? next.value : Buffer.concat([start, next.value]);
  }
  return start;
}

async function* joined(start: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (start.length > 0) yield start;
  yield* rest;
}
