/** Images that are read: from files, through a FIFO, from standard input. */

import { randomUUID } from "node:crypto";
import { constants, createReadStream, openSync } from "node:fs";
import { open, rm, stat, type FileHandle } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline, type Readable } from "node:stream";
import { CommandError } from "../errors.js";
import { bytes } from "./tables.js";
import { fileCodecs, type FileCodec } from "./codecs.js";
import { CONTAINER_HEADER, containerCodec } from "./container.js";

const CHUNK = 1024 * 1024;

/** The migration stream in a file, decompressed. */
export interface OpenedImage {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** What the file is compressed with; undefined: not at all. */
  readonly codec: string | undefined;
}

/** What messages call it. */
export function inputName(path: string): string {
  return path === "-" ? "standard input" : path;
}

/**
 * Opens the image at `path`; "-" is standard input.
 * @throws CommandError: it cannot be read, or not with this Node. So do the chunks
 */
export async function openImage(
  path: string,
  codecs: readonly FileCodec[] = fileCodecs,
): Promise<OpenedImage> {
  return decoded(inputName(path), await openInput(path), codecs);
}

/**
 * An image that is looked at before it is used, and is read from its input once: what is no regular file is kept
 * meanwhile, in a file that has no name.
 */
export class KeptImage implements AsyncDisposable {
  private constructor(
    readonly name: string,
    private readonly file: FileHandle,
    private readonly input: Readable | undefined,
  ) {}

  /** @throws CommandError: it cannot be opened */
  static async open(path: string): Promise<KeptImage> {
    const name = inputName(path);
    try {
      if (path !== "-" && (await stat(path)).isFile())
        return new KeptImage(name, await open(path), undefined);
      return new KeptImage(name, await unnamedFile(), await openInput(path));
    } catch (error) {
      throw asCommandError(name, error);
    }
  }

  /**
   * The image, from its input. To be read to its end, before `again`.
   * @param limit bytes that the input may have; a CommandError comes after them
   */
  async first(limit: () => number): Promise<OpenedImage> {
    if (!this.input) return this.again();
    return decoded(this.name, kept(this.name, this.input, this.file, limit), fileCodecs);
  }

  /** The same image once more. */
  again(): Promise<OpenedImage> {
    const stream = this.file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK });
    return decoded(this.name, stream, fileCodecs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.input?.destroy();
    await this.file.close();
  }
}

/** Passes on what it has written to the file. */
async function* kept(
  name: string,
  input: Readable,
  file: FileHandle,
  limit: () => number,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of input as AsyncIterable<Uint8Array>) {
    if (size + chunk.length > limit())
      throw new CommandError(`${name}: more than ${bytes(limit())}, which no image of the device has`);
    for (let done = 0; done < chunk.length;)
      done += (await file.write(chunk, done, chunk.length - done, size + done)).bytesWritten;
    size += chunk.length;
    yield chunk;
  }
}

/** A guest's state is nobody else's, and nothing of it stays. */
async function unnamedFile(): Promise<FileHandle> {
  const path = join(tmpdir(), `.vfiokit.${randomUUID()}`);
  const file = await open(path, "wx+", 0o600);
  await rm(path);
  return file;
}

async function openInput(path: string): Promise<Readable> {
  if (path === "-") return process.stdin;
  try {
    // A blocking open would keep a thread that nothing can interrupt.
    if ((await stat(path)).isFIFO())
      return new Socket({
        fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
        readable: true,
        writable: false,
      });
  } catch (error) {
    throw asCommandError(path, error);
  }
  return createReadStream(path, { highWaterMark: CHUNK });
}

async function decoded(
  name: string,
  source: AsyncIterable<Uint8Array>,
  codecs: readonly FileCodec[],
): Promise<OpenedImage> {
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
  return {
    chunks: readable(name, decompressed(codec, start.subarray(CONTAINER_HEADER), input)),
    codec: codec.name,
  };
}

/** @throws Error: there is something behind the compressed data, or it breaks off */
async function* decompressed(
  codec: FileCodec,
  start: Uint8Array,
  input: AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const plain = codec.decompress();
  let given = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of joined(start, input)) {
      given += chunk.length;
      yield chunk;
    }
  }
  pipeline(counted, plain, () => undefined);
  yield* plain as AsyncIterable<Uint8Array>;
  if (plain.bytesWritten < given)
    throw new Error(
      `${given - plain.bytesWritten} bytes follow the end of what is compressed with ${codec.name}`,
    );
}

async function* readable(name: string, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of source) yield chunk;
  } catch (error) {
    throw asCommandError(name, error);
  }
}

function asCommandError(name: string, error: unknown): unknown {
  if (error instanceof CommandError || !(error instanceof Error)) return error;
  return new CommandError(`${name}: ${error.message}`);
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
