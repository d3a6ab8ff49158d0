import { VfioError } from "../errno.js";

/**
 * The migration stream, byte by byte: docs/migration-stream.md. A stream is a row of records; a record is a
 * header, a body and a CRC-32C. All numbers are little-endian.
 */

/** Sections one after the other, each whole. */
export const FORMAT_SECTIONS = 1;
/** Memory in pages as well, in any order and repeated: what a device gives while it runs. */
export const FORMAT_PAGES = 2;
/** The newest format that this code reads. It writes the oldest that does. */
export const STREAM_FORMAT = FORMAT_PAGES;

/** Record types: four ASCII characters, read as a number. */
export const RecordType = {
  BEGIN: fourcc("BEGN"),
  SECTION: fourcc("SECT"),
  DATA: fourcc("DATA"),
  PAGES: fourcc("PAGE"),
  END: fourcc("END "),
} as const;

/** Offsets in a record. The body follows the header, the CRC (4 bytes) follows the body. */
export const RecordOffset = {
  TYPE: 0,
  /** 0 for BEGIN, one more for each record after it. */
  SEQUENCE: 4,
  /** Bytes of the body. */
  LENGTH: 8,
  BODY: 12,
} as const;
export const RECORD_HEADER = RecordOffset.BODY;
export const RECORD_CRC = 4;

/** Offsets in the body of BEGIN, which is the same in every format, so that any reader can tell a newer one. */
export const BeginOffset = {
  MAGIC: 0,
  FORMAT: 8,
  RESERVED: 10,
  STREAM_ID: 12,
  VENDOR: 28,
  DEVICE: 30,
  SUBSYSTEM_VENDOR: 32,
  SUBSYSTEM_DEVICE: 34,
  /** Revision in the low byte, class code above it: the dword at 08h of the configuration space. */
  CLASS_REVISION: 36,
  GENERATION: 40,
} as const;
export const BEGIN_BODY = 48;
export const BEGIN_RECORD = RECORD_HEADER + BEGIN_BODY + RECORD_CRC;

/** Not text, and mangled by what mangles text: a high bit, both line ends, and the DOS end of file. */
export const MAGIC = Uint8Array.of(0x89, 0x56, 0x4b, 0x4d, 0x0d, 0x0a, 0x1a, 0x0a);
export const STREAM_ID_SIZE = 16;

/** Offsets in the body of SECTION. The name (ASCII) fills the rest of the body. */
export const SectionOffset = {
  VERSION: 0,
  FLAGS: 4,
  /** Bytes of the section, which the DATA records after it carry. */
  SIZE: 8,
  NAME: 16,
} as const;
export const SECTION_OPTIONAL = 1 << 0;
/** Format 2: PAGE records carry it, in any order, and no DATA. */
export const SECTION_MEMORY = 1 << 1;

/** Offsets in the body of PAGE (format 2). Both ends of its bytes are on pages, or at the end of the section. */
export const PagesOffset = {
  /** Of the SECT records since BEGIN, counted from 0. */
  SECTION: 0,
  RESERVED: 4,
  /** Where in the section the bytes belong. */
  OFFSET: 8,
  BYTES: 16,
} as const;

/** Offsets in the body of END. */
export const EndOffset = {
  /** Sections since BEGIN. */
  SECTIONS: 0,
  /** Bytes of all these sections. */
  BYTES: 8,
} as const;
export const END_BODY = 16;

/** Bytes of a section in one record, DATA or PAGE. */
export const MAX_DATA = 64 * 1024;
export const MAX_RECORD = RECORD_HEADER + PagesOffset.BYTES + MAX_DATA + RECORD_CRC;
export const MAX_NAME = 255;
export const MAX_SECTIONS = 4096;
/** Bytes of all paged sections together: what a reader has to keep a bit a page for. */
export const MAX_PAGED = 2 ** 40;

/** What the guest knows the device by. A stream loads into a device that is the same in all of it. */
export interface DeviceIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystemDevice: number;
  /** 24 bits: base class, subclass, programming interface. */
  readonly classCode: number;
  readonly revision: number;
}

/** What a BEGIN says. */
export interface StreamBegin {
  readonly format: number;
  readonly identity: DeviceIdentity;
  readonly streamId: Uint8Array;
  /** How often the source had been reset. */
  readonly generation: bigint;
}

/** "1b36:0002 subsystem 1af4:1100 class 070002 revision 01" */
export function describeIdentity(identity: DeviceIdentity): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  return (
    `${hex(identity.vendor, 4)}:${hex(identity.device, 4)} ` +
    `subsystem ${hex(identity.subsystemVendor, 4)}:${hex(identity.subsystemDevice, 4)} ` +
    `class ${hex(identity.classCode, 6)} revision ${hex(identity.revision, 2)}`
  );
}

/** Which rule of the format a stream breaks. */
export type StreamRule =
  | "not-a-stream"
  | "newer-format"
  | "other-device"
  | "other-memory"
  | "damaged"
  | "out-of-order"
  | "malformed"
  | "too-large"
  | "incomplete";

/** A migration stream that is refused. */
export class StreamError extends VfioError {
  constructor(
    override readonly rule: StreamRule,
    /** What is wrong, and where. */
    readonly text: string,
    /** Where in the stream: the byte at which the record begins that breaks the rule, or at which the stream does. */
    readonly offset: number,
  ) {
    super("EINVAL", `migration stream: ${text}`);
  }
}

/** Makes the error for the record at hand. */
export type Fail = (rule: StreamRule, message: string) => StreamError;

/** Section names: printable ASCII without spaces, so that they can be shown as they are. */
export function isSectionName(name: string): boolean {
  return name.length <= MAX_NAME && /^[!-~]+$/.test(name);
}

function fourcc(text: string): number {
  return text.split("").reduceRight((number, c) => number * 256 + c.charCodeAt(0), 0);
}
