/**
 * How registers are decoded and printed: each is declared once, with its fields and with the lines that
 * `lspci -vv` prints for it.
 */

export type FieldValue = boolean | number | string;

/** A register in words: its value and its fields. */
export interface RegisterDescription {
  /** As lspci names it, such as "DevCtl". */
  readonly name: string;
  /** Bytes from the start of configuration space. */
  readonly offset: number;
  readonly value: number;
  /** A flag is a boolean; a number is in the unit that lspci prints; addresses are hexadecimal strings. */
  readonly fields: Readonly<Record<string, FieldValue>>;
}

/** Reads the bytes of one capability, or of the header; bytes beyond the end of configuration space are 0. */
export class RegisterReader {
  constructor(
    private readonly bytes: Uint8Array,
    readonly base: number,
    /** Whether the function has a memory BAR: some fields exist for such functions only. */
    readonly hasMemoryBar: boolean,
  ) {}

  u8(offset: number): number {
    return this.bytes[this.base + offset] ?? 0;
  }

  u16(offset: number): number {
    return this.u8(offset) | (this.u8(offset + 1) << 8);
  }

  u32(offset: number): number {
    return (this.u16(offset) | (this.u16(offset + 2) << 16)) >>> 0;
  }

  has(offset: number, size: number): boolean {
    return this.base + offset + size <= this.bytes.length;
  }
}

/** A flag by its mask, or a value; undefined where this function does not have the field. */
export type FieldSpec = number | ((value: number, reader: RegisterReader) => FieldValue | undefined);

export interface RegisterSpec {
  readonly name: string;
  /** Bytes from the start of the capability. */
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  readonly fields: Readonly<Record<string, FieldSpec>>;
  /**
   * What lspci prints. `{Name}` is a field: a flag as `Name+` or `Name-` (less what comes before its last dot), the
   * value of anything else. A part in brackets is left out, and a line with nothing else, where a field is missing.
   */
  readonly lines: readonly string[];
  /** Whether this function has the register; absent: always. */
  readonly exists?: (reader: RegisterReader) => boolean;
}

/** Undefined where the register lies beyond the bytes, or where the function does not have it. */
export function decodeRegister(spec: RegisterSpec, reader: RegisterReader): RegisterDescription | undefined {
  if (!reader.has(spec.offset, spec.size) || spec.exists?.(reader) === false) return undefined;
  const value = readSized(reader, spec.offset, spec.size);
  const fields: Record<string, FieldValue> = {};
  for (const [name, field] of Object.entries(spec.fields)) {
    const decoded = typeof field === "number" ? (value & field) !== 0 : field(value, reader);
    if (decoded !== undefined) fields[name] = decoded;
  }
  return { name: spec.name, offset: reader.base + spec.offset, value, fields };
}

export function formatRegister(spec: RegisterSpec, description: RegisterDescription): string[] {
  return spec.lines.map((line) => fill(line, description.fields)).filter((line) => line !== "");
}

/** The bits of `mask`, moved down to bit 0. */
export function bits(mask: number): (value: number) => number {
  const shift = 31 - Math.clz32(mask & -mask);
  return (value) => (value & mask) >>> shift;
}

export function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

function readSized(reader: RegisterReader, offset: number, size: 1 | 2 | 4): number {
  if (size === 1) return reader.u8(offset);
  return size === 2 ? reader.u16(offset) : reader.u32(offset);
}

function fill(template: string, fields: Readonly<Record<string, FieldValue>>): string {
  const withoutMissing = template.replace(/\[([^\]]*)\]/g, (_, part: string) =>
    fieldNames(part).every((name) => name in fields) ? part : "",
  );
  return withoutMissing.replace(/\{([^}]+)\}/g, (_, name: string) => {
    const value = fields[name];
    if (typeof value !== "boolean") return String(value);
    return name.slice(name.lastIndexOf(".") + 1) + (value ? "+" : "-");
  });
}

function fieldNames(template: string): string[] {
  return [...template.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]!);
}
