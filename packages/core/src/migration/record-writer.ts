import { VfioError } from "../errno.js";
import { crc32c } from "./crc32c.js";
import {
  BeginOffset,
  BEGIN_BODY,
  MAGIC,
  RecordOffset,
  RECORD_CRC,
  RECORD_HEADER,
  RecordType,
  STREAM_ID_SIZE,
  type DeviceIdentity,
} from "./stream-format.js";

export interface StreamOrigin {
  readonly identity: DeviceIdentity;
  /** 16 random bytes, the same for all streams of one device in one process: see docs/migration-stream.md, "Starting over". */
  readonly streamId: Uint8Array;
  /** The device's generation when the image was begun. */
  readonly generation: number;
}

/** A record to be written. The body is `head` followed by `payload`, which is read when it is written out. */
export interface OutgoingRecord {
  readonly type: number;
  readonly head: Uint8Array;
  readonly payload: Uint8Array;
}

/** Bytes of a record with a body of this size. */
export function recordSize(body: number): number {
  return RECORD_HEADER + body + RECORD_CRC;
}

const none = new Uint8Array(0);

/**
 * Writes records into the caller's buffers, as they ask for bytes: BEGIN first, then what `next` gives. Payloads are
 * copied once, and only when they are written.
 */
export class RecordWriter {
  // The record that is being written: its header and the head of its body, its payload, then the CRC over both.
  #head: Uint8Array;
  #payload: Uint8Array = none;
  readonly #crcBytes = new Uint8Array(RECORD_CRC);
  #position = 0;
  #crc = 0;
  /** Nothing is left of it. */
  #done = false;

  #sequence = 0;
  #seed = 0;

  /**
   * @param next the next record; undefined: there is none, or none for now
   * @throws VfioError EINVAL
   */
  constructor(
    origin: StreamOrigin,
    format: number,
    private readonly next: () => OutgoingRecord | undefined,
  ) {
    if (origin.streamId.byteLength !== STREAM_ID_SIZE) {
      throw new VfioError(
        "EINVAL",
        `streamId: ${origin.streamId.byteLength} bytes, it has ${STREAM_ID_SIZE}`,
      );
    }
    this.#head = this.#header({ type: RecordType.BEGIN, head: beginBody(origin, format), payload: none });
  }

  /** Bytes that are left of the record that is being written. */
  get rest(): number {
    return this.#done ? 0 : this.#head.byteLength + this.#payload.byteLength + RECORD_CRC - this.#position;
  }

  /** Fills `into` as far as there are records. @returns the bytes written */
  read(into: Uint8Array): number {
    let at = 0;
    while (at < into.byteLength) {
      if (this.#done && !this.#begin()) break;
      const payloadAt = this.#head.byteLength;
      const crcAt = payloadAt + this.#payload.byteLength;
      if (this.#position < crcAt) {
        const inHead = this.#position < payloadAt;
        const count = inHead
          ? copy(this.#head, this.#position, into, at)
          : copy(this.#payload, this.#position - payloadAt, into, at);
        // Over the bytes that went out: what is saved may be live memory.
        this.#crc = crc32c(into, this.#crc, at, at + count);
        this.#position += count;
        at += count;
        continue;
      }
      if (this.#position === crcAt) new DataView(this.#crcBytes.buffer).setUint32(0, this.#crc, true);
      const count = copy(this.#crcBytes, this.#position - crcAt, into, at);
      this.#position += count;
      at += count;
      if (this.#position === crcAt + RECORD_CRC) this.#end();
    }
    return at;
  }

  /** Begins the next record. @returns false if there is none */
  #begin(): boolean {
    const record = this.next();
    if (!record) return false;
    this.#head = this.#header(record);
    this.#payload = record.payload;
    this.#position = 0;
    this.#crc = this.#seed;
    this.#done = false;
    return true;
  }

  #end(): void {
    if (this.#sequence === 0) this.#seed = this.#crc;
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#payload = none;
    this.#done = true;
  }

  #header({ type, head, payload }: OutgoingRecord): Uint8Array {
    const bytes = new Uint8Array(RECORD_HEADER + head.byteLength);
    const view = new DataView(bytes.buffer);
    view.setUint32(RecordOffset.TYPE, type, true);
    view.setUint32(RecordOffset.SEQUENCE, this.#sequence, true);
    view.setUint32(RecordOffset.LENGTH, head.byteLength + payload.byteLength, true);
    bytes.set(head, RECORD_HEADER);
    return bytes;
  }
}

function beginBody({ identity, streamId, generation }: StreamOrigin, format: number): Uint8Array {
  const bytes = new Uint8Array(BEGIN_BODY);
  const body = new DataView(bytes.buffer);
  bytes.set(MAGIC, BeginOffset.MAGIC);
  body.setUint16(BeginOffset.FORMAT, format, true);
  bytes.set(streamId, BeginOffset.STREAM_ID);
  body.setUint16(BeginOffset.VENDOR, identity.vendor, true);
  body.setUint16(BeginOffset.DEVICE, identity.device, true);
  body.setUint16(BeginOffset.SUBSYSTEM_VENDOR, identity.subsystemVendor, true);
  body.setUint16(BeginOffset.SUBSYSTEM_DEVICE, identity.subsystemDevice, true);
  body.setUint32(BeginOffset.CLASS_REVISION, identity.classCode * 256 + identity.revision, true);
  body.setBigUint64(BeginOffset.GENERATION, BigInt(generation), true);
  return bytes;
}

/** Copies what fits of `from`, beginning at `start`. */
function copy(from: Uint8Array, start: number, into: Uint8Array, at: number): number {
  const count = Math.min(from.byteLength - start, into.byteLength - at);
  into.set(from.subarray(start, start + count), at);
  return count;
}
