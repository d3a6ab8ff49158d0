import { RecordReader, type RecordSink } from "./record-reader.js";
import type { MigratedMemory, SavedSection } from "./sections.js";
import { describeIdentity, type DeviceIdentity, type Fail, type StreamBegin } from "./stream-format.js";
import { StreamImage, type SectionHeader, type SectionSink } from "./stream-image.js";

/** What a reader may keep, and what it need not. */
export interface StreamReaderOptions {
  /** Bytes of all sections that the reader keeps until the end. Default: 256 MiB. */
  readonly bytes?: number;
  /** The device's memory by section name: these sections are not kept, but put where they belong as they come. */
  readonly memories?: ReadonlyMap<string, MigratedMemory>;
}

const DEFAULT_LIMIT = 256 * 1024 * 1024;

/**
 * Reads the stream of a device from pieces of any size. `finish` returns its sections, or throws.
 *
 * It touches nothing of the device but the memory that it was given, and that only with what came undamaged.
 */
export class StreamReader {
  readonly #image: DeviceImage;
  readonly #records: RecordReader;

  /** @param identity the device that the stream is going to be loaded into */
  constructor(identity: DeviceIdentity, options: StreamReaderOptions = {}) {
    this.#image = new DeviceImage(identity, options.bytes ?? DEFAULT_LIMIT, options.memories ?? new Map());
    this.#records = new RecordReader(this.#image);
  }

  /** Something of the stream is in the device's memory. */
  get touchedMemory(): boolean {
    return this.#image.touchedMemory;
  }

  /**
   * Bytes that it keeps: at most one record and a little, twice the limit (while a buffer grows), and a bit for each
   * page that came.
   */
  get held(): number {
    return this.#records.held + this.#image.held;
  }

  /**
   * Takes the next bytes of the stream. They are not kept.
   * @throws StreamError as soon as the stream cannot become valid any more, and from then on.
   */
  push(input: Uint8Array): void {
    this.#records.push(input);
  }

  /**
   * The stream is over.
   * @returns its sections; those in the device's memory with that memory's bytes
   * @throws StreamError if anything is missing or wrong
   */
  finish(): SavedSection[] {
    this.#records.finish();
    return this.#image.saved();
  }
}

/** What a stream has brought for a device, since its last BEGIN. */
class DeviceImage implements RecordSink {
  touchedMemory = false;
  #image: StreamImage | undefined;
  #kept = new Map<SectionHeader, KeptSection>();
  /** Of the sections that are kept. */
  #announced = 0;
  #loaded: { readonly header: SectionHeader; readonly memory: MigratedMemory }[] = [];

  constructor(
    private readonly identity: DeviceIdentity,
    private readonly limit: number,
    private readonly memories: ReadonlyMap<string, MigratedMemory>,
  ) {}

  get ended(): boolean {
    return this.#image?.ended ?? false;
  }

  get sectionCount(): number {
    return this.#image?.sectionCount ?? 0;
  }

  get held(): number {
    let held = this.#image?.held ?? 0;
    for (const { bytes } of this.#kept.values()) held += bytes.byteLength;
    return held;
  }

  begin({ format, identity }: StreamBegin, fail: Fail): void {
    const theirs = describeIdentity(identity);
    const ours = describeIdentity(this.identity);
    if (theirs !== ours) throw fail("other-device", `it is of device ${theirs}, this one is ${ours}`);
    this.#image = new StreamImage(format, (header, failed) => this.#open(header, failed));
    this.#kept = new Map();
    this.#announced = 0;
    this.#loaded = [];
  }

  record(type: number, body: DataView, fail: Fail): void {
    this.#image!.add(type, body, fail);
  }

  saved(): SavedSection[] {
    const saved = ({ name, version, optional }: SectionHeader, bytes: Uint8Array) => ({
      name,
      version,
      optional,
      bytes,
    });
    return [
      ...[...this.#kept].map(([header, { bytes }]) => saved(header, bytes)),
      ...this.#loaded.map(({ header, memory }) => saved(header, memory.bytes)),
    ];
  }

  #open(header: SectionHeader, fail: Fail): SectionSink {
    const { name, version, optional, paged, size } = header;
    const memory = this.memories.get(name);
    if (memory && version >= 1 && version <= memory.version) {
      if (size !== memory.size) {
        throw fail("other-memory", `section ${name} has ${size} bytes, the device's memory ${memory.size}`);
      }
      this.#loaded.push({ header, memory });
      return { put: (offset, bytes) => this.#load(memory, offset, bytes) };
    }
    if (memory || paged) {
      if (optional) return nowhere;
      throw fail(
        "other-memory",
        memory
          ? `section ${name}: version ${version}, this device reads 1 to ${memory.version}`
          : `section ${name}: this device has no such memory, and it is not optional`,
      );
    }
    if (size > this.limit - this.#announced) {
      throw fail(
        "too-large",
        `section ${name} of ${size} bytes exceeds the limit of ${this.limit} for all sections`,
      );
    }
    this.#announced += size;
    const kept = new KeptSection(size);
    this.#kept.set(header, kept);
    return kept;
  }

  #load(memory: MigratedMemory, offset: number, bytes: Uint8Array): void {
    this.touchedMemory = true;
    memory.write(offset, bytes);
  }
}

/** A section that waits for the end of the stream. Its buffer grows with what arrives, not with what was announced. */
class KeptSection implements SectionSink {
  bytes: Uint8Array = new Uint8Array(0);

  constructor(private readonly size: number) {}

  put(offset: number, bytes: Uint8Array): void {
    const needed = offset + bytes.byteLength;
    if (needed > this.bytes.byteLength) {
      const grown = new Uint8Array(Math.min(this.size, Math.max(needed, this.bytes.byteLength * 2)));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(bytes, offset);
  }
}

/** Where optional sections go that the device does not know. */
const nowhere: SectionSink = { put: () => undefined };
