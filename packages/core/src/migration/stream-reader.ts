import { crc32c } from "./crc32c.js";
import type { SavedSection } from "./sections.js";
import {
  BeginOffset,
  BEGIN_BODY,
  BEGIN_RECORD,
  describeIdentity,
  END_BODY,
  MAGIC,
  MAX_BODY,
  MAX_NAME,
  MAX_RECORD,
  RecordOffset,
  RECORD_CRC,
  RECORD_HEADER,
  RecordType,
  SectionOffset,
  STREAM_FORMAT,
  STREAM_ID_SIZE,
  StreamError,
  type DeviceIdentity,
} from "./stream-format.js";
import { StreamImage } from "./stream-image.js";

export interface StreamLimits {
  /** Bytes of all sections together. */
  readonly bytes: number;
}

const defaultLimits: StreamLimits = { bytes: 256 * 1024 * 1024 };

/**
 * Reads a stream from pieces of any size. It touches no device: `finish` returns the sections, or throws.
 *
 * Memory: the announced sections as far as they arrived (at most twice `limits.bytes` while a buffer grows),
 * and one record.
 */
export class StreamReader {
  readonly #identity: DeviceIdentity;
  readonly #limits: StreamLimits;
  #image: StreamImage | undefined;
  #failure: StreamError | undefined;
  /** The start of a record whose rest has not arrived, and room to look for a BEGIN behind it. */
  readonly #pending = new Uint8Array(MAX_RECORD + BEGIN_RECORD);
  #pendingLength = 0;
  /** Offset in the stream of the record that is being parsed, for messages. */
  #offset = 0;
  #finishing = false;

  /** @param identity the device that the stream is going to be loaded into */
  constructor(identity: DeviceIdentity, limits: StreamLimits = defaultLimits) {
    this.#identity = identity;
    this.#limits = limits;
  }

  /**
   * Takes the next bytes of the stream. They are not kept.
   * @throws StreamError as soon as the stream cannot become valid any more, and from then on.
   */
  push(input: Uint8Array): void {
    this.#guard(() => {
      let at = 0;
      while (at < input.byteLength) {
        // Whole records are parsed where they are; only a cut one is collected first.
        if (this.#pendingLength === 0) {
          const used = this.#parse(input, at, input.byteLength);
          at += used;
          if (used > 0) continue;
        }
        const count = Math.min(this.#pending.byteLength - this.#pendingLength, input.byteLength - at);
        this.#pending.set(input.subarray(at, at + count), this.#pendingLength);
        this.#pendingLength += count;
        at += count;
        this.#parsePending();
      }
    });
  }

  /** The stream is over. @returns its sections. @throws StreamError if anything is missing or wrong. */
  finish(): SavedSection[] {
    return this.#guard(() => {
      this.#finishing = true;
      this.#parsePending();
      const image = this.#image;
      if (!image?.ended || this.#pendingLength > 0) throw this.#incomplete();
      return image.saved();
    });
  }

  /** One refusal is final: bytes that come after it have lost their meaning. */
  #guard<T>(step: () => T): T {
    if (this.#failure) throw this.#failure;
    try {
      return step();
    } catch (error) {
      if (error instanceof StreamError) this.#failure = error;
      throw error;
    }
  }

  #parsePending(): void {
    let start = 0;
    for (;;) {
      const used = this.#parse(this.#pending, start, this.#pendingLength);
      if (used === 0) break;
      start += used;
    }
    this.#pending.copyWithin(0, start, this.#pendingLength);
    this.#pendingLength -= start;
  }

  /** Parses one record of `buffer[from..to)`. @returns the bytes that it used; 0 if it is not all there yet. */
  #parse(buffer: Uint8Array, from: number, to: number): number {
    const available = to - from;
    if (available < RECORD_HEADER) return 0;
    const view = new DataView(buffer.buffer, buffer.byteOffset + from, available);
    const type = view.getUint32(RecordOffset.TYPE, true);
    const length = view.getUint32(RecordOffset.LENGTH, true);
    let size = RECORD_HEADER + length + RECORD_CRC;

    let damage: StreamError | undefined;
    if (!plausible(type, length)) {
      damage = this.#image
        ? this.#error("damaged", "what should be a record's header is none")
        : this.#error("not-a-stream", "this is no vfiokit migration stream");
      size = RECORD_HEADER;
    } else if (!this.#image && type !== RecordType.BEGIN) {
      throw this.#error("not-a-stream", "a migration stream starts with a BEGN record");
    } else if (available < size) {
      if (!this.#finishing || !this.#image) return 0;
      damage = this.#incomplete();
    } else {
      const crcAt = RECORD_HEADER + length;
      const seed = type === RecordType.BEGIN ? 0 : this.#image!.seed;
      if (crc32c(buffer, seed, from, from + crcAt) === view.getUint32(crcAt, true)) {
        this.#record(type, view, length);
        this.#offset += size;
        return size;
      }
      damage = this.#error("damaged", "checksum does not match");
    }
    return this.#startOver(buffer, from, to, size, damage);
  }

  /**
   * A record is damaged. If that is because the source was reset and started over in the middle of the record,
   * its new BEGIN is right here: in the record, or less than one BEGIN behind it. Only the source can have put it
   * there: the stream's id is random and no guest knows it.
   * @returns the bytes to skip, or 0 if more bytes are needed to tell. @throws `damage` if that is not the case.
   */
  #startOver(buffer: Uint8Array, from: number, to: number, size: number, damage: StreamError): number {
    if (!this.#image) throw damage;
    const last = Math.min(to, from + size + BEGIN_RECORD) - BEGIN_RECORD;
    const at = findBegin(buffer, from + 1, last, this.#image.streamId);
    if (at !== undefined) {
      this.#offset += at - from;
      return at - from;
    }
    if (this.#finishing || to - from >= size + BEGIN_RECORD) throw damage;
    return 0;
  }

  /** A whole and undamaged record: is it the right one here? */
  #record(type: number, view: DataView, length: number): void {
    const sequence = view.getUint32(RecordOffset.SEQUENCE, true);
    if (type === RecordType.BEGIN) {
      if (sequence !== 0) throw this.#error("malformed", `BEGN has number ${sequence}, not 0`);
      this.#begin(view);
      return;
    }
    const image = this.#image!;
    if (sequence !== image.nextSequence) {
      throw this.#error("out-of-order", `record ${sequence} comes where ${image.nextSequence} should`);
    }
    const body = new DataView(view.buffer, view.byteOffset + RECORD_HEADER, length);
    image.add(type, body, (rule, message) => this.#error(rule, message));
  }

  /** Everything before is forgotten: the source starts (over). */
  #begin(view: DataView): void {
    const body = new DataView(view.buffer, view.byteOffset + RECORD_HEADER, BEGIN_BODY);
    const bytes = new Uint8Array(body.buffer, body.byteOffset, BEGIN_BODY);
    if (!MAGIC.every((byte, i) => bytes[i] === byte))
      throw this.#error("not-a-stream", "the magic number is wrong");
    const format = body.getUint16(BeginOffset.FORMAT, true);
    if (format > STREAM_FORMAT) {
      throw this.#error("newer-format", `its format is ${format}, this version reads up to ${STREAM_FORMAT}`);
    }
    if (format === 0 || body.getUint16(BeginOffset.RESERVED, true) !== 0) {
      throw this.#error("malformed", "BEGN has a format of 0 or a reserved field that is not 0");
    }
    const classRevision = body.getUint32(BeginOffset.CLASS_REVISION, true);
    const theirs = describeIdentity({
      vendor: body.getUint16(BeginOffset.VENDOR, true),
      device: body.getUint16(BeginOffset.DEVICE, true),
      subsystemVendor: body.getUint16(BeginOffset.SUBSYSTEM_VENDOR, true),
      subsystemDevice: body.getUint16(BeginOffset.SUBSYSTEM_DEVICE, true),
      classCode: classRevision >>> 8,
      revision: classRevision & 0xff,
    });
    const ours = describeIdentity(this.#identity);
    if (theirs !== ours) throw this.#error("other-device", `it is of device ${theirs}, this one is ${ours}`);
    this.#image = new StreamImage(
      bytes.slice(BeginOffset.STREAM_ID, BeginOffset.STREAM_ID + STREAM_ID_SIZE),
      view.getUint32(RECORD_HEADER + BEGIN_BODY, true),
      this.#limits.bytes,
    );
  }

  #incomplete(): StreamError {
    const length = this.#offset + this.#pendingLength;
    if (!this.#image) return new StreamError("incomplete", `${length} bytes are not even its beginning`);
    const { ended, sectionCount, nextSequence } = this.#image;
    if (ended) return new StreamError("incomplete", `${this.#pendingLength} bytes follow its end`);
    return new StreamError(
      "incomplete",
      `it breaks off after ${length} bytes, in record ${nextSequence}, ${sectionCount} sections so far`,
    );
  }

  #error(rule: StreamError["rule"], message: string): StreamError {
    return new StreamError(rule, `at byte ${this.#offset}: ${message}`);
  }
}

/** Could this be a record's header? The length must be one that the type can have. */
function plausible(type: number, length: number): boolean {
  switch (type) {
    case RecordType.BEGIN:
      return length === BEGIN_BODY;
    case RecordType.SECTION:
      return length > SectionOffset.NAME && length <= SectionOffset.NAME + MAX_NAME;
    case RecordType.DATA:
      return length > 0 && length <= MAX_BODY;
    case RecordType.END:
      return length === END_BODY;
    default:
      return false;
  }
}

/** The first BEGIN of this stream that starts in `buffer[first..last]`. Its checksum is checked when it is parsed. */
function findBegin(
  buffer: Uint8Array,
  first: number,
  last: number,
  streamId: Uint8Array,
): number | undefined {
  const toMagic = RECORD_HEADER + BeginOffset.MAGIC;
  const toId = RECORD_HEADER + BeginOffset.STREAM_ID;
  for (let at = first; at <= last; at++) {
    at = buffer.indexOf(MAGIC[0]!, at + toMagic) - toMagic;
    if (at < first || at > last) return undefined;
    if (holds(buffer, at + toMagic, MAGIC) && holds(buffer, at + toId, streamId)) return at;
  }
  return undefined;
}

function holds(buffer: Uint8Array, at: number, bytes: Uint8Array): boolean {
  return bytes.every((byte, i) => buffer[at + i] === byte);
}
