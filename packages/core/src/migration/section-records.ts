import { VfioError } from "../errno.js";
import { recordSize, type OutgoingRecord } from "./record-writer.js";
import type { SavedSection } from "./sections.js";
import {
  EndOffset,
  END_BODY,
  isSectionName,
  MAX_DATA,
  MAX_SECTIONS,
  RecordType,
  SECTION_MEMORY,
  SECTION_OPTIONAL,
  SectionOffset,
} from "./stream-format.js";

const none = new Uint8Array(0);

/** The records of sections that are sent whole, one after the other: SECT DATA* each. */
export class SectionRecords {
  /** The section that is being sent, and how much of it has been turned into records. */
  #section = -1;
  #offset = 0;

  /** @throws VfioError EINVAL: a section's version is none that a reader takes */
  constructor(private readonly sections: readonly SavedSection[]) {
    for (const { name, version } of sections)
      if (version < 1)
        throw new VfioError("EINVAL", `section ${name}: version ${version}: versions begin with 1`);
  }

  /** Undefined after the last. */
  next(): OutgoingRecord | undefined {
    const bytes = this.sections[this.#section]?.bytes ?? none;
    if (this.#offset < bytes.byteLength) {
      const payload = bytes.subarray(this.#offset, this.#offset + MAX_DATA);
      this.#offset += payload.byteLength;
      return { type: RecordType.DATA, head: none, payload };
    }
    const section = this.sections[this.#section + 1];
    if (!section) return undefined;
    this.#section++;
    this.#offset = 0;
    const { name, version, optional } = section;
    return announce(name, version, optional ? SECTION_OPTIONAL : 0, section.bytes.byteLength);
  }
}

/** SECT for memory that comes in pages. */
export function announceMemory(name: string, version: number, size: number): OutgoingRecord {
  return announce(name, version, SECTION_MEMORY, size);
}

function announce(name: string, version: number, flags: number, size: number): OutgoingRecord {
  const head = new Uint8Array(SectionOffset.NAME + name.length);
  const view = new DataView(head.buffer);
  view.setUint32(SectionOffset.VERSION, version, true);
  view.setUint32(SectionOffset.FLAGS, flags, true);
  view.setBigUint64(SectionOffset.SIZE, BigInt(size), true);
  for (let i = 0; i < name.length; i++) head[SectionOffset.NAME + i] = name.charCodeAt(i);
  return { type: RecordType.SECTION, head, payload: none };
}

/** @param bytes of all sections */
export function endRecord(sections: number, bytes: number): OutgoingRecord {
  const head = new Uint8Array(END_BODY);
  const view = new DataView(head.buffer);
  view.setBigUint64(EndOffset.SECTIONS, BigInt(sections), true);
  view.setBigUint64(EndOffset.BYTES, BigInt(bytes), true);
  return { type: RecordType.END, head, payload: none };
}

/** @throws VfioError EINVAL if a name is not one, given twice, or there are too many. */
export function checkNames(names: readonly string[]): void {
  if (names.length > MAX_SECTIONS) {
    throw new VfioError("EINVAL", `${names.length} sections, a stream has at most ${MAX_SECTIONS}`);
  }
  const seen = new Set<string>();
  for (const name of names) {
    if (!isSectionName(name)) {
      throw new VfioError(
        "EINVAL",
        `section ${JSON.stringify(name)}: a name is 1 to 255 printable ASCII characters`,
      );
    }
    if (seen.has(name)) throw new VfioError("EINVAL", `section ${name}: given twice`);
    seen.add(name);
  }
}

export function totalBytes(sections: readonly SavedSection[]): number {
  return sections.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
}

/** Bytes of the records of these sections, and of END. */
export function sizeOfRecords(sections: readonly SavedSection[]): number {
  let size = recordSize(END_BODY);
  for (const { name, bytes } of sections) {
    size +=
      announcementSize(name) + Math.ceil(bytes.byteLength / MAX_DATA) * recordSize(0) + bytes.byteLength;
  }
  return size;
}

/** Bytes of a SECT record. */
export function announcementSize(name: string): number {
  return recordSize(SectionOffset.NAME + name.length);
}
