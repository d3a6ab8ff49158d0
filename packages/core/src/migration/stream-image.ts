import { PAGE_SIZE } from "../dma/page.js";
import { PageSet } from "./page-set.js";
import {
  EndOffset,
  FORMAT_PAGES,
  isSectionName,
  MAX_PAGED,
  MAX_SECTIONS,
  PagesOffset,
  RecordType,
  SECTION_MEMORY,
  SECTION_OPTIONAL,
  SectionOffset,
  type Fail,
} from "./stream-format.js";

/** A section as the stream announces it. */
export interface SectionHeader {
  readonly name: string;
  readonly version: number;
  readonly optional: boolean;
  /** It comes in pages, in any order. */
  readonly paged: boolean;
  /** Bytes. */
  readonly size: number;
}

/** Takes the bytes of one section. */
export interface SectionSink {
  put(offset: number, bytes: Uint8Array): void;
}

/** Says where a section's bytes go. @throws what `fail` makes, if there is no place for them */
export type OpenSection = (header: SectionHeader, fail: Fail) => SectionSink;

interface Incoming {
  readonly header: SectionHeader;
  readonly sink: SectionSink;
  /** Of a paged section. */
  readonly pages: PageSet | undefined;
  /** Bytes of records, repeated ones as often as they came. */
  received: number;
}

/** How far a section has come. */
export interface SectionProgress extends SectionHeader {
  /** Bytes that have come; pages that came again count again. */
  readonly received: number;
  readonly complete: boolean;
}

/** What a stream has brought since its last BEGIN: checks that it fits together, and passes the bytes on. */
export class StreamImage {
  ended = false;
  readonly #sections: Incoming[] = [];
  readonly #names = new Set<string>();
  /** Of the sizes of all sections. */
  #announced = 0;
  #announcedPaged = 0;

  constructor(
    private readonly format: number,
    private readonly open: OpenSection,
  ) {}

  get sectionCount(): number {
    return this.#sections.length;
  }

  /** Bytes that it keeps to know which pages came. */
  get held(): number {
    return this.#sections.reduce((sum, { pages }) => sum + (pages?.held ?? 0), 0);
  }

  get sections(): SectionProgress[] {
    return this.#sections.map((section) => ({
      ...section.header,
      received: section.received,
      complete: isComplete(section),
    }));
  }

  /** @throws what `fail` makes, for a record that breaks a rule */
  add(type: number, body: DataView, fail: Fail): void {
    if (type === RecordType.SECTION) this.#section(body, fail);
    else if (type === RecordType.DATA) this.#data(body, fail);
    else if (type === RecordType.PAGES) this.#pages(body, fail);
    else this.#end(body, fail);
  }

  #section(body: DataView, fail: Fail): void {
    this.#refuseUnfinished(fail, "the next begins");
    const header = parseSection(body, this.format, fail);
    const { name, size, paged } = header;
    if (this.#names.has(name)) throw fail("malformed", `section ${name} is there twice`);
    if (this.#sections.length === MAX_SECTIONS) throw fail("too-large", `more than ${MAX_SECTIONS} sections`);
    if (this.#announced + size > Number.MAX_SAFE_INTEGER) {
      throw fail("too-large", `section ${name} of ${size} bytes: all together have more than 2^53`);
    }
    if (paged && this.#announcedPaged + size > MAX_PAGED) {
      throw fail("too-large", `section ${name} of ${size} bytes: memory of more than ${MAX_PAGED} in all`);
    }
    const sink = this.open(header, fail);
    this.#announced += size;
    if (paged) this.#announcedPaged += size;
    this.#names.add(name);
    const pages = paged ? new PageSet(Math.ceil(size / PAGE_SIZE)) : undefined;
    this.#sections.push({ header, sink, pages, received: 0 });
  }

  /** The next bytes of the section that was announced last. */
  #data(body: DataView, fail: Fail): void {
    const section = this.#sections.at(-1);
    if (!section) throw fail("malformed", "DATA without a section");
    if (section.pages)
      throw fail("malformed", `DATA for section ${section.header.name}, which comes in pages`);
    const { header, received } = section;
    if (received + body.byteLength > header.size) {
      throw fail("malformed", `section ${header.name} is longer than announced`);
    }
    section.sink.put(received, new Uint8Array(body.buffer, body.byteOffset, body.byteLength));
    section.received += body.byteLength;
  }

  /** Pages of any paged section, for the first time or again. */
  #pages(body: DataView, fail: Fail): void {
    this.#refuseUnfinished(fail, "pages of another come");
    const number = body.getUint32(PagesOffset.SECTION, true);
    const section = this.#sections[number];
    if (!section?.pages) throw fail("malformed", `PAGE of section ${number}, which is none that has pages`);
    const { name, size } = section.header;
    const offset = Number(body.getBigUint64(PagesOffset.OFFSET, true));
    const end = offset + body.byteLength - PagesOffset.BYTES;
    if (body.getUint32(PagesOffset.RESERVED, true) !== 0) {
      throw fail("malformed", "PAGE has a reserved field that is not 0");
    }
    if (offset % PAGE_SIZE !== 0 || end > size || (end % PAGE_SIZE !== 0 && end !== size)) {
      throw fail("malformed", `section ${name}: bytes ${offset} to ${end} of ${size} are no pages of it`);
    }
    section.sink.put(offset, new Uint8Array(body.buffer, body.byteOffset + PagesOffset.BYTES, end - offset));
    section.pages.add(offset / PAGE_SIZE, Math.ceil(end / PAGE_SIZE));
    section.received += end - offset;
  }

  #end(body: DataView, fail: Fail): void {
    this.#refuseUnfinished(fail, "the stream ends");
    for (const { header, pages } of this.#sections) {
      const all = Math.ceil(header.size / PAGE_SIZE);
      if (!pages || pages.count === all) continue;
      throw fail(
        "malformed",
        `section ${header.name} has ${pages.count} of ${all} pages when the stream ends: ` +
          `the one at byte ${pages.firstMissing() * PAGE_SIZE} never came`,
      );
    }
    const sections = body.getBigUint64(EndOffset.SECTIONS, true);
    const bytes = body.getBigUint64(EndOffset.BYTES, true);
    if (sections !== BigInt(this.#sections.length) || bytes !== BigInt(this.#announced)) {
      throw fail(
        "malformed",
        `it says that it has ${sections.toString()} sections of ${bytes.toString()} bytes, ` +
          `it had ${this.#sections.length} of ${this.#announced}`,
      );
    }
    this.ended = true;
  }

  /** The section that DATA fills must be complete before anything else comes. */
  #refuseUnfinished(fail: Fail, event: string): void {
    const last = this.#sections.at(-1);
    if (last && !last.pages && !isComplete(last)) {
      const { name, size } = last.header;
      throw fail("malformed", `section ${name} has ${last.received} of ${size} bytes when ${event}`);
    }
  }
}

function isComplete({ header, pages, received }: Incoming): boolean {
  return pages ? pages.count === Math.ceil(header.size / PAGE_SIZE) : received === header.size;
}

/** @throws what `fail` makes for a body that this format cannot have */
function parseSection(body: DataView, format: number, fail: Fail): SectionHeader {
  const name = String.fromCharCode(
    ...new Uint8Array(
      body.buffer,
      body.byteOffset + SectionOffset.NAME,
      body.byteLength - SectionOffset.NAME,
    ),
  );
  if (!isSectionName(name)) throw fail("malformed", "a section's name is not printable ASCII");
  const flags = body.getUint32(SectionOffset.FLAGS, true);
  const known = format >= FORMAT_PAGES ? SECTION_OPTIONAL | SECTION_MEMORY : SECTION_OPTIONAL;
  if ((flags & ~known) !== 0) {
    throw fail("malformed", `section ${name} has unknown flags 0x${flags.toString(16)}`);
  }
  const version = body.getUint32(SectionOffset.VERSION, true);
  if (version === 0) throw fail("malformed", `section ${name} has version 0: versions begin with 1`);
  const size = body.getBigUint64(SectionOffset.SIZE, true);
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw fail("too-large", `section ${name} of ${size.toString()} bytes: more than 2^53`);
  }
  return {
    name,
    version,
    optional: (flags & SECTION_OPTIONAL) !== 0,
    paged: (flags & SECTION_MEMORY) !== 0,
    size: Number(size),
  };
}
