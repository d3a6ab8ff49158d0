import { crc32c } from "./crc32c.js";
import {
  BeginOffset,
  BEGIN_BODY,
  BEGIN_RECORD,
  END_BODY,
  MAGIC,
  MAX_DATA,
  MAX_NAME,
  MAX_RECORD,
  PagesOffset,
  RecordOffset,
  RECORD_CRC,
  RECORD_HEADER,
  RecordType,
  SectionOffset,
  STREAM_FORMAT,
  STREAM_ID_SIZE,
  StreamError,
  type Fail,
  type StreamBegin,
  type StreamRule,
} from "./stream-format.js";

const MAX_PENDING = MAX_RECORD + BEGIN_RECORD;

/** What takes the records of a stream: whole, intact, and in their places. */
export interface RecordSink {
  /** The first BEGIN, or another: what came before is forgotten. @throws what `fail` makes, to refuse the stream */
  begin(begin: StreamBegin, fail: Fail): void;
  /** A record after BEGIN. @throws what `fail` makes, to refuse the stream */
  record(type: number, body: DataView, fail: Fail): void;
  /** END has come. */
  readonly ended: boolean;
  readonly sectionCount: number;
}

/** The image that is being read, as far as records need to know it. */
interface Current {
  readonly streamId: Uint8Array;
  /** The CRC of BEGIN, which those of all other records go on from. */
  readonly seed: number;
  nextSequence: number;
}

/** Cuts a stream that comes in pieces of any size into records, and checks that they are the right ones. */
export class RecordReader {
  /** The start of a record whose rest has not arrived, and what is behind a damaged one, to look for a BEGIN in. */
  #pending: Uint8Array = new Uint8Array(0);
  #pendingLength = 0;
  #current: Current | undefined;
  #failure: StreamError | undefined;
  /** Offset in the stream of the record that is being parsed. */
  #offset = 0;
  #finishing = false;
  readonly #fail: Fail = (rule, message) =>
    new StreamError(rule, `at byte ${this.#offset}: ${message}`, this.#offset);

  constructor(private readonly sink: RecordSink) {}

  /** Bytes that it keeps: at most one record, and one BEGIN. */
  get held(): number {
    return this.#pending.byteLength;
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
        at += this.#collect(input, at);
        this.#parsePending();
      }
    });
  }

  /** The stream is over. @throws StreamError if anything is missing or wrong. */
  finish(): void {
    this.#guard(() => {
      this.#finishing = true;
      this.#parsePending();
      if (!this.#current || !this.sink.ended || this.#pendingLength > 0) throw this.#incomplete();
    });
  }

  /** One refusal is final: bytes that come after it have lost their meaning. */
  #guard(step: () => void): void {
    if (this.#failure) throw this.#failure;
    try {
      step();
    } catch (error) {
      if (error instanceof StreamError) this.#failure = error;
      throw error;
    }
  }

  /** Adds bytes to those that wait for the rest of their record. @returns how many */
  #collect(input: Uint8Array, at: number): number {
    const length = Math.min(this.#pendingLength + input.byteLength - at, MAX_PENDING);
    const count = length - this.#pendingLength;
    if (length > this.#pending.byteLength) {
      const grown = new Uint8Array(Math.min(Math.max(length, 2 * this.#pending.byteLength), MAX_PENDING));
      grown.set(this.#pending.subarray(0, this.#pendingLength));
      this.#pending = grown;
    }
    this.#pending.set(input.subarray(at, at + count), this.#pendingLength);
    this.#pendingLength = length;
    return count;
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
      damage = this.#current
        ? this.#fail("damaged", "what should be a record's header is none")
        : this.#fail("not-a-stream", "this is no vfiokit migration stream");
      size = RECORD_HEADER;
    } else if (!this.#current && type !== RecordType.BEGIN) {
      throw this.#fail("not-a-stream", "a migration stream starts with a BEGN record");
    } else if (available < size) {
      if (!this.#finishing || !this.#current) return 0;
      damage = this.#incomplete();
    } else {
      const crcAt = RECORD_HEADER + length;
      const seed = type === RecordType.BEGIN ? 0 : this.#current!.seed;
      const crc = view.getUint32(crcAt, true);
      if (crc32c(buffer, seed, from, from + crcAt) === crc) {
        this.#record(type, view, length, crc);
        this.#offset += size;
        return size;
      }
      damage = this.#fail("damaged", "checksum does not match");
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
    if (!this.#current) throw damage;
    const last = Math.min(to, from + size + BEGIN_RECORD) - BEGIN_RECORD;
    const at = findBegin(buffer, from + 1, last, this.#current.streamId);
    if (at !== undefined) {
      this.#offset += at - from;
      return at - from;
    }
    if (this.#finishing || to - from >= size + BEGIN_RECORD) throw damage;
    return 0;
  }

  /** A whole and undamaged record: is it the right one here? */
  #record(type: number, view: DataView, length: number, crc: number): void {
    const sequence = view.getUint32(RecordOffset.SEQUENCE, true);
    const body = new DataView(view.buffer, view.byteOffset + RECORD_HEADER, length);
    if (type === RecordType.BEGIN) {
      if (sequence !== 0) throw this.#fail("malformed", `BEGN has number ${sequence}, not 0`);
      const begin = parseBegin(body, this.#fail);
      this.sink.begin(begin, this.#fail);
      this.#current = { streamId: begin.streamId, seed: crc, nextSequence: 1 };
      return;
    }
    const current = this.#current!;
    if (sequence !== current.nextSequence) {
      throw this.#fail("out-of-order", `record ${sequence} comes where ${current.nextSequence} should`);
    }
    current.nextSequence = (sequence + 1) >>> 0;
    if (this.sink.ended) throw this.#fail("malformed", "the stream goes on after its end");
    this.sink.record(type, body, this.#fail);
  }

  #incomplete(): StreamError {
    const length = this.#offset + this.#pendingLength;
    const error = (message: string) => new StreamError("incomplete" satisfies StreamRule, message, length);
    if (!this.#current) return error(`${length} bytes are not even its beginning`);
    if (this.sink.ended) return error(`${this.#pendingLength} bytes follow its end`);
    return error(
      `it breaks off after ${length} bytes, in record ${this.#current.nextSequence}, ` +
        `${this.sink.sectionCount} sections so far`,
    );
  }
}

/** @throws what `fail` makes for what is no BEGIN of a format that this code reads */
function parseBegin(body: DataView, fail: Fail): StreamBegin {
  const bytes = new Uint8Array(body.buffer, body.byteOffset, BEGIN_BODY);
  if (!holds(bytes, BeginOffset.MAGIC, MAGIC)) throw fail("not-a-stream", "the magic number is wrong");
  const format = body.getUint16(BeginOffset.FORMAT, true);
  if (format > STREAM_FORMAT) {
    throw fail("newer-format", `its format is ${format}, this version reads up to ${STREAM_FORMAT}`);
  }
  if (format === 0 || body.getUint16(BeginOffset.RESERVED, true) !== 0) {
    throw fail("malformed", "BEGN has a format of 0 or a reserved field that is not 0");
  }
  const classRevision = body.getUint32(BeginOffset.CLASS_REVISION, true);
  return {
    format,
    identity: {
      vendor: body.getUint16(BeginOffset.VENDOR, true),
      device: body.getUint16(BeginOffset.DEVICE, true),
      subsystemVendor: body.getUint16(BeginOffset.SUBSYSTEM_VENDOR, true),
      subsystemDevice: body.getUint16(BeginOffset.SUBSYSTEM_DEVICE, true),
      classCode: classRevision >>> 8,
      revision: classRevision & 0xff,
    },
    streamId: bytes.slice(BeginOffset.STREAM_ID, BeginOffset.STREAM_ID + STREAM_ID_SIZE),
    generation: body.getBigUint64(BeginOffset.GENERATION, true),
  };
}

/** Could this be a record's header? The length must be one that the type can have. */
function plausible(type: number, length: number): boolean {
  switch (type) {
    case RecordType.BEGIN:
      return length === BEGIN_BODY;
    case RecordType.SECTION:
      return length > SectionOffset.NAME && length <= SectionOffset.NAME + MAX_NAME;
    case RecordType.DATA:
      return length > 0 && length <= MAX_DATA;
    case RecordType.PAGES:
      return length > PagesOffset.BYTES && length <= PagesOffset.BYTES + MAX_DATA;
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
