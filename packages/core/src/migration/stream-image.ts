import type { SavedSection } from "./sections.js";
import {
  EndOffset,
  isSectionName,
  MAX_SECTIONS,
  RecordType,
  SECTION_OPTIONAL,
  SectionOffset,
  type StreamError,
  type StreamRule,
} from "./stream-format.js";

/** A section on its way in. Its buffer grows with what arrives, not with what was announced. */
interface Incoming {
  readonly name: string;
  readonly version: number;
  readonly optional: boolean;
  readonly size: number;
  bytes: Uint8Array;
  received: number;
}

/** Makes the error for the record at hand. */
type Fail = (rule: StreamRule, message: string) => StreamError;

/** What a stream has brought since its last BEGIN. Records come whole and undamaged. */
export class StreamImage {
  /** The number that the next record must have. */
  nextSequence = 1;
  ended = false;
  readonly #sections = new Map<string, Incoming>();
  /** The section whose DATA comes next. */
  #current: Incoming | undefined;
  #announced = 0;

  constructor(
    readonly streamId: Uint8Array,
    /** The CRC of the BEGIN record, which all others go on from. */
    readonly seed: number,
    /** Bytes of all sections together. */
    private readonly limit: number,
  ) {}

  get sectionCount(): number {
    return this.#sections.size;
  }

  /** @throws what `fail` makes, for a record that breaks a rule */
  add(type: number, body: DataView, fail: Fail): void {
    this.nextSequence++;
    if (this.ended) throw fail("malformed", "the stream goes on after its end");
    if (type === RecordType.SECTION) this.#section(body, fail);
    else if (type === RecordType.DATA) this.#data(body, fail);
    else this.#end(body, fail);
  }

  saved(): SavedSection[] {
    return [...this.#sections.values()].map(({ name, version, optional, bytes }) => ({
      name,
      version,
      optional,
      bytes,
    }));
  }

  #section(body: DataView, fail: Fail): void {
    this.#refuseUnfinished(fail, "the next begins");
    const name = String.fromCharCode(
      ...new Uint8Array(
        body.buffer,
        body.byteOffset + SectionOffset.NAME,
        body.byteLength - SectionOffset.NAME,
      ),
    );
    const flags = body.getUint32(SectionOffset.FLAGS, true);
    const size = body.getBigUint64(SectionOffset.SIZE, true);
    if (!isSectionName(name)) throw fail("malformed", "a section's name is not printable ASCII");
    if (this.#sections.has(name)) throw fail("malformed", `section ${name} is there twice`);
    if ((flags & ~SECTION_OPTIONAL) !== 0) {
      throw fail("malformed", `section ${name} has unknown flags 0x${flags.toString(16)}`);
    }
    if (this.#sections.size === MAX_SECTIONS) {
      throw fail("too-large", `more than ${MAX_SECTIONS} sections`);
    }
    if (size > BigInt(this.limit - this.#announced)) {
      throw fail(
        "too-large",
        `section ${name} of ${size.toString()} bytes exceeds the limit of ${this.limit} for all sections`,
      );
    }
    this.#announced += Number(size);
    this.#current = {
      name,
      version: body.getUint32(SectionOffset.VERSION, true),
      optional: (flags & SECTION_OPTIONAL) !== 0,
      size: Number(size),
      bytes: new Uint8Array(0),
      received: 0,
    };
    this.#sections.set(name, this.#current);
  }

  #data(body: DataView, fail: Fail): void {
    const section = this.#current;
    if (!section || section.received + body.byteLength > section.size) {
      throw fail(
        "malformed",
        section ? `section ${section.name} is longer than announced` : "DATA without a section",
      );
    }
    const needed = section.received + body.byteLength;
    if (needed > section.bytes.byteLength) {
      const grown = new Uint8Array(Math.min(section.size, Math.max(needed, section.bytes.byteLength * 2)));
      grown.set(section.bytes);
      section.bytes = grown;
    }
    section.bytes.set(new Uint8Array(body.buffer, body.byteOffset, body.byteLength), section.received);
    section.received = needed;
  }

  #end(body: DataView, fail: Fail): void {
    this.#refuseUnfinished(fail, "the stream ends");
    const sections = body.getBigUint64(EndOffset.SECTIONS, true);
    const bytes = body.getBigUint64(EndOffset.BYTES, true);
    if (sections !== BigInt(this.#sections.size) || bytes !== BigInt(this.#announced)) {
      throw fail(
        "malformed",
        `it says that it has ${sections.toString()} sections of ${bytes.toString()} bytes, ` +
          `it had ${this.#sections.size} of ${this.#announced}`,
      );
    }
    this.ended = true;
  }

  #refuseUnfinished(fail: Fail, event: string): void {
    const current = this.#current;
    if (current && current.received < current.size) {
      throw fail(
        "malformed",
        `section ${current.name} has ${current.received} of ${current.size} bytes when ${event}`,
      );
    }
  }
}
