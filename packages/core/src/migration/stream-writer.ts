import { VfioError } from "../errno.js";
import { crc32c } from "./crc32c.js";
import type { SavedSection } from "./sections.js";
import {
  BeginOffset,
  BEGIN_BODY,
  EndOffset,
  END_BODY,
  isSectionName,
  MAGIC,
  MAX_BODY,
  MAX_SECTIONS,
  RecordOffset,
  RECORD_CRC,
  RECORD_HEADER,
  RecordType,
  SECTION_OPTIONAL,
  SectionOffset,
  STREAM_FORMAT,
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

const empty = new Uint8Array(0);

/**
 * Writes an image as a stream, into the caller's buffers and as they ask for it. The sections' bytes are
 * read only when they are written out; nothing is copied before.
 */
export class StreamWriter {
  /** Bytes of the whole stream. */
  readonly size: number;
  readonly #origin: StreamOrigin;
  readonly #sections: readonly SavedSection[];
  #written = 0;

  // The record that is being written: a head, a payload (DATA only), and the CRC once both are out.
  #head: Uint8Array = empty;
  #payload: Uint8Array = empty;
  readonly #crcBytes = new Uint8Array(RECORD_CRC);
  #position = 0;
  #crc = 0;

  // Where the stream is: the record's number, and the section with how much of it has been turned into records.
  #sequence = 0;
  #section = -1;
  #sectionOffset = 0;
  #seed = 0;
  #ended = false;

  /** @throws VfioError EINVAL if a name is not one, given twice, or there are too many. */
  constructor(origin: StreamOrigin, sections: readonly SavedSection[]) {
    if (origin.streamId.byteLength !== STREAM_ID_SIZE) {
      throw new VfioError(
        "EINVAL",
        `streamId: ${origin.streamId.byteLength} bytes, it has ${STREAM_ID_SIZE}`,
      );
    }
    checkSections(sections);
    this.#origin = origin;
    this.#sections = sections;
    this.size = streamSize(sections);
    this.#head = this.#begin();
  }

  /** Bytes that are still to be read. */
  get remaining(): number {
    return this.size - this.#written;
  }

  /** Fills `into` as far as the stream goes. @returns the bytes written; 0 at the end of the stream. */
  read(into: Uint8Array): number {
    let at = 0;
    while (at < into.byteLength && !this.#ended) {
      const payloadAt = this.#head.byteLength;
      const crcAt = payloadAt + this.#payload.byteLength;
      if (this.#position < crcAt) {
        const [piece, start] =
          this.#position < payloadAt
            ? [this.#head, this.#position]
            : [this.#payload, this.#position - payloadAt];
        const count = copy(piece, start, into, at);
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
      if (this.#position === crcAt + RECORD_CRC) this.#nextRecord();
    }
    this.#written += at;
    return at;
  }

  #nextRecord(): void {
    if (this.#sequence === 0) this.#seed = this.#crc;
    this.#sequence++;
    this.#position = 0;
    this.#crc = this.#seed;

    const bytes = this.#sections[this.#section]?.bytes ?? empty;
    if (this.#sectionOffset < bytes.byteLength) {
      this.#payload = bytes.subarray(this.#sectionOffset, this.#sectionOffset + MAX_BODY);
      this.#sectionOffset += this.#payload.byteLength;
      this.#head = this.#record(RecordType.DATA, this.#payload.byteLength, 0).head;
      return;
    }
    this.#payload = empty;
    this.#section++;
    this.#sectionOffset = 0;
    if (this.#section < this.#sections.length) this.#head = this.#announce(this.#sections[this.#section]!);
    else if (this.#section === this.#sections.length) this.#head = this.#end();
    else this.#ended = true;
  }

  /** A record's header, and room for as much of its body as is not payload. */
  #record(type: number, length: number, room = length): { head: Uint8Array; body: DataView } {
    const head = new Uint8Array(RECORD_HEADER + room);
    const view = new DataView(head.buffer);
    view.setUint32(RecordOffset.TYPE, type, true);
    view.setUint32(RecordOffset.SEQUENCE, this.#sequence, true);
    view.setUint32(RecordOffset.LENGTH, length, true);
    return { head, body: new DataView(head.buffer, RECORD_HEADER) };
  }

  #begin(): Uint8Array {
    const { identity, streamId, generation } = this.#origin;
    const { head, body } = this.#record(RecordType.BEGIN, BEGIN_BODY);
    head.set(MAGIC, RECORD_HEADER + BeginOffset.MAGIC);
    body.setUint16(BeginOffset.FORMAT, STREAM_FORMAT, true);
    head.set(streamId, RECORD_HEADER + BeginOffset.STREAM_ID);
    body.setUint16(BeginOffset.VENDOR, identity.vendor, true);
    body.setUint16(BeginOffset.DEVICE, identity.device, true);
    body.setUint16(BeginOffset.SUBSYSTEM_VENDOR, identity.subsystemVendor, true);
    body.setUint16(BeginOffset.SUBSYSTEM_DEVICE, identity.subsystemDevice, true);
    body.setUint32(BeginOffset.CLASS_REVISION, identity.classCode * 256 + identity.revision, true);
    body.setBigUint64(BeginOffset.GENERATION, BigInt(generation), true);
    return head;
  }

  #announce(section: SavedSection): Uint8Array {
    const { head, body } = this.#record(RecordType.SECTION, SectionOffset.NAME + section.name.length);
    body.setUint32(SectionOffset.VERSION, section.version, true);
    body.setUint32(SectionOffset.FLAGS, section.optional ? SECTION_OPTIONAL : 0, true);
    body.setBigUint64(SectionOffset.SIZE, BigInt(section.bytes.byteLength), true);
    new TextEncoder().encodeInto(section.name, head.subarray(RECORD_HEADER + SectionOffset.NAME));
    return head;
  }

  #end(): Uint8Array {
    const { head, body } = this.#record(RecordType.END, END_BODY);
    body.setBigUint64(EndOffset.SECTIONS, BigInt(this.#sections.length), true);
    body.setBigUint64(EndOffset.BYTES, BigInt(totalBytes(this.#sections)), true);
    return head;
  }
}

function checkSections(sections: readonly SavedSection[]): void {
  if (sections.length > MAX_SECTIONS) {
    throw new VfioError("EINVAL", `${sections.length} sections, a stream has at most ${MAX_SECTIONS}`);
  }
  const names = new Set<string>();
  for (const { name } of sections) {
    if (!isSectionName(name)) {
      throw new VfioError(
        "EINVAL",
        `section ${JSON.stringify(name)}: a name is 1 to 255 printable ASCII characters`,
      );
    }
    if (names.has(name)) throw new VfioError("EINVAL", `section ${name}: given twice`);
    names.add(name);
  }
}

function totalBytes(sections: readonly SavedSection[]): number {
  return sections.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
}

function streamSize(sections: readonly SavedSection[]): number {
  const record = (body: number) => RECORD_HEADER + body + RECORD_CRC;
  let size = record(BEGIN_BODY) + record(END_BODY);
  for (const { name, bytes } of sections) {
    const dataRecords = Math.ceil(bytes.byteLength / MAX_BODY);
    size += record(SectionOffset.NAME + name.length) + dataRecords * record(0) + bytes.byteLength;
  }
  return size;
}

/** Copies what fits of `from`, beginning at `start`. */
function copy(from: Uint8Array, start: number, into: Uint8Array, at: number): number {
  const count = Math.min(from.byteLength - start, into.byteLength - at);
  into.set(from.subarray(start, start + count), at);
  return count;
}
