import { RecordWriter, recordSize, type OutgoingRecord, type StreamOrigin } from "./record-writer.js";
import {
  announceMemory,
  announcementSize,
  checkNames,
  endRecord,
  SectionRecords,
  sizeOfRecords,
  totalBytes,
} from "./section-records.js";
import type { MigratedMemory, SavedSection } from "./sections.js";
import { PAGE_SIZE } from "../dma/page.js";
import { FORMAT_PAGES, FORMAT_SECTIONS, MAX_DATA, PagesOffset, RecordType } from "./stream-format.js";
import type { TrackedMemory } from "./tracked-memory.js";

/** What is still to be sent in PRE_COPY (VFIO uAPI: struct vfio_precopy_info). */
export interface PrecopyInfo {
  /** Bytes of what was never sent. */
  readonly initialBytes: number;
  /** Bytes of what was sent and has changed. */
  readonly dirtyBytes: number;
  /** Since the last time there is new initial data: what was sent of it is of no use (VFIO_PRECOPY_INFO_REINIT). */
  readonly reinitialized: boolean;
}

const PAGES_IN_RECORD = MAX_DATA / PAGE_SIZE;
const PAGES_OVERHEAD = recordSize(PagesOffset.BYTES);

interface SentMemory {
  readonly name: string;
  readonly memory: MigratedMemory;
  readonly tracked: TrackedMemory;
}

/**
 * Writes the image of a device that runs: its tracked memory, page by page, and again what has changed, as often as it
 * is asked. Once the device has stopped, `finish` adds the rest. Without tracked memory only the beginning can be
 * sent before that.
 */
export class PrecopyWriter {
  readonly #memories: readonly SentMemory[];
  readonly #records: RecordWriter;
  /** How many of the memories have been announced. */
  #announced = 0;
  /** The record that is being written holds pages that were sent before. */
  #resending = false;
  #rest: { readonly records: SectionRecords; readonly end: OutgoingRecord } | undefined;
  /** Bytes of the records that `#rest` has still to give. */
  #restBytes = 0;
  #ended = false;

  constructor(origin: StreamOrigin, memories: ReadonlyMap<string, MigratedMemory>) {
    checkNames([...memories.keys()]);
    this.#memories = [...memories].flatMap(([name, memory]) =>
      memory.tracked ? [{ name, memory, tracked: memory.tracked }] : [],
    );
    for (const { tracked } of this.#memories) tracked.forgetSent();
    const format = this.#memories.length > 0 ? FORMAT_PAGES : FORMAT_SECTIONS;
    this.#records = new RecordWriter(origin, format, () => this.#next());
  }

  /** Takes note of a re-initialisation: the next call does not tell of it again. */
  takeInfo(): PrecopyInfo {
    let initialBytes = this.#resending ? 0 : this.#records.rest;
    let dirtyBytes = this.#resending ? this.#records.rest : 0;
    let reinitialized = false;
    for (const { name } of this.#memories.slice(this.#announced)) initialBytes += announcementSize(name);
    for (const { tracked } of this.#memories) {
      initialBytes += withOverhead(tracked.initialBytes);
      dirtyBytes += withOverhead(tracked.dirtyBytes);
      if (tracked.takeReplaced()) reinitialized = true;
    }
    return { initialBytes, dirtyBytes, reinitialized };
  }

  /**
   * Bytes that are still to be read, about: how pages lie together is known when they are sent.
   * @param saved what `finish` is going to get, where it was not called yet
   */
  remaining(saved: () => readonly SavedSection[]): number {
    let bytes = this.#records.rest;
    for (const { name } of this.#memories.slice(this.#announced)) bytes += announcementSize(name);
    for (const { tracked } of this.#memories) {
      bytes += withOverhead(tracked.initialBytes) + withOverhead(tracked.dirtyBytes);
    }
    return bytes + (this.#rest ? this.#restBytes : sizeOfRecords(this.#others(saved())));
  }

  /** Fills `into` as far as there is something to send. @returns the bytes written; 0: nothing, for now or at all */
  read(into: Uint8Array): number {
    return this.#records.read(into);
  }

  /**
   * The device has stopped: what is left of its memory follows, then all other sections, then the end.
   * @throws VfioError EINVAL if a section's name is not one, or given twice
   */
  finish(saved: readonly SavedSection[]): void {
    checkNames(saved.map(({ name }) => name));
    const others = this.#others(saved);
    const bytes = this.#memories.reduce((sum, { memory }) => sum + memory.size, totalBytes(others));
    const end = endRecord(this.#memories.length + others.length, bytes);
    this.#rest = { records: new SectionRecords(others), end };
    this.#restBytes = sizeOfRecords(others);
  }

  /** Nobody reads it any more. */
  close(): void {
    for (const { tracked } of this.#memories) tracked.forgetSent();
  }

  /** The sections that are not sent in pages. */
  #others(saved: readonly SavedSection[]): SavedSection[] {
    return saved.filter(({ name }) => !this.#memories.some((memory) => memory.name === name));
  }

  #next(): OutgoingRecord | undefined {
    this.#resending = false;
    if (this.#announced < this.#memories.length) {
      const { name, memory } = this.#memories[this.#announced++]!;
      return announceMemory(name, memory.version, memory.size);
    }
    return this.#nextPages() ?? this.#nextOfRest();
  }

  /** First what was never sent of any memory, then what has changed. */
  #nextPages(): OutgoingRecord | undefined {
    const initial = this.#memories.findIndex(({ tracked }) => tracked.initialBytes > 0);
    const section = initial < 0 ? this.#memories.findIndex(({ tracked }) => tracked.dirtyBytes > 0) : initial;
    if (section < 0) return undefined;
    this.#resending = initial < 0;
    const { memory, tracked } = this.#memories[section]!;
    const { offset, length } = tracked.take(PAGES_IN_RECORD)!;
    const head = new Uint8Array(PagesOffset.BYTES);
    const view = new DataView(head.buffer);
    view.setUint32(PagesOffset.SECTION, section, true);
    view.setBigUint64(PagesOffset.OFFSET, BigInt(offset), true);
    return { type: RecordType.PAGES, head, payload: memory.bytes.subarray(offset, offset + length) };
  }

  #nextOfRest(): OutgoingRecord | undefined {
    if (!this.#rest || this.#ended) return undefined;
    const record = this.#rest.records.next();
    this.#ended = record === undefined;
    const next = record ?? this.#rest.end;
    this.#restBytes -= recordSize(next.head.byteLength + next.payload.byteLength);
    return next;
  }
}

/** Bytes of the records that carry so many bytes of pages, if they lie together. */
function withOverhead(bytes: number): number {
  return bytes + Math.ceil(bytes / MAX_DATA) * PAGES_OVERHEAD;
}
