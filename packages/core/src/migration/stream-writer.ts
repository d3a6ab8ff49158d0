import { RecordWriter, recordSize, type OutgoingRecord, type StreamOrigin } from "./record-writer.js";
import { checkNames, endRecord, SectionRecords, sizeOfRecords, totalBytes } from "./section-records.js";
import type { SavedSection } from "./sections.js";
import { BEGIN_BODY, FORMAT_SECTIONS } from "./stream-format.js";

/**
 * Writes an image of a stopped device as a stream, into the caller's buffers and as they ask for it. The sections'
 * bytes are read only when they are written out; nothing is copied before.
 */
export class StreamWriter {
  /** Bytes of the whole stream. */
  readonly size: number;
  readonly #records: RecordWriter;
  readonly #sectionRecords: SectionRecords;
  #written = 0;
  #ended = false;

  /** @throws VfioError EINVAL if a name is not one, given twice, or there are too many. */
  constructor(
    origin: StreamOrigin,
    private readonly sections: readonly SavedSection[],
  ) {
    checkNames(sections.map(({ name }) => name));
    this.size = recordSize(BEGIN_BODY) + sizeOfRecords(sections);
    this.#sectionRecords = new SectionRecords(sections);
    this.#records = new RecordWriter(origin, FORMAT_SECTIONS, () => this.#next());
  }

  /** Bytes that are still to be read. */
  get remaining(): number {
    return this.size - this.#written;
  }

  /** Fills `into` as far as the stream goes. @returns the bytes written; 0 at the end of the stream. */
  read(into: Uint8Array): number {
    const count = this.#records.read(into);
    this.#written += count;
    return count;
  }

  #next(): OutgoingRecord | undefined {
    const record = this.#sectionRecords.next();
    if (record || this.#ended) return record;
    this.#ended = true;
    return endRecord(this.sections.length, totalBytes(this.sections));
  }
}
