/** What configuration space is made of: its fields, which of their bits can be written, and what a write of them asks for. */

/** How a field can be written. Bits in none of the masks are read-only. */
export interface FieldAccess {
  /** Bits that software reads and writes. */
  readonly rw?: number;
  /** Status bits: writing 1 clears them, writing 0 leaves them. */
  readonly w1c?: number;
  /** Bits that do something when 1 is written to them, and read as 0. */
  readonly action?: number;
}

/** A write that changed one of `bits` (or wrote 1 to one that is an action) reports `effect`. */
export interface Watch {
  readonly bits: number;
  readonly effect: number;
}

/** The value that a byte takes: a place for fields that refuse some of the values that software may write. */
export type Refine = (old: number, written: number) => number;

const READ_ONLY: FieldAccess = {};

/** Collects the fields of one configuration space, of which `ConfigSpace` is made. One element a byte. */
export class ConfigLayout {
  readonly powerOn: Uint8Array;
  readonly rw: Uint8Array;
  readonly w1c: Uint8Array;
  readonly action: Uint8Array;
  readonly watches: (readonly Watch[] | undefined)[];
  readonly refine: (Refine | undefined)[];

  constructor(readonly size: number) {
    this.powerOn = new Uint8Array(size);
    this.rw = new Uint8Array(size);
    this.w1c = new Uint8Array(size);
    this.action = new Uint8Array(size);
    this.watches = new Array<undefined>(size).fill(undefined);
    this.refine = new Array<undefined>(size).fill(undefined);
  }

  /** The fields from `base` on, for a capability whose registers count from its own start. */
  at(base: number): FieldWriter {
    return new FieldWriter(this, base);
  }
}

/** Declares fields relative to a base. */
export class FieldWriter {
  constructor(
    private readonly layout: ConfigLayout,
    private readonly base: number,
  ) {}

  u8(offset: number, powerOn: number, access: FieldAccess = READ_ONLY): void {
    this.field(offset, 1, powerOn, access);
  }

  u16(offset: number, powerOn: number, access: FieldAccess = READ_ONLY): void {
    this.field(offset, 2, powerOn, access);
  }

  u32(offset: number, powerOn: number, access: FieldAccess = READ_ONLY): void {
    this.field(offset, 4, powerOn, access);
  }

  /** Reports `effect` for writes to `bits` of the little-endian field at `offset`. */
  watch(offset: number, bits: number, effect: number): void {
    for (let i = 0; i < 4; i++) {
      const byteBits = (bits >>> (8 * i)) & 0xff;
      if (byteBits === 0) continue;
      const at = this.base + offset + i;
      this.layout.watches[at] = [...(this.layout.watches[at] ?? []), { bits: byteBits, effect }];
    }
  }

  /** Lets `refine` decide which value the byte at `offset` takes. */
  refine(offset: number, refine: Refine): void {
    this.layout.refine[this.base + offset] = refine;
  }

  private field(offset: number, size: number, powerOn: number, access: FieldAccess): void {
    for (let i = 0; i < size; i++) {
      const at = this.base + offset + i;
      const shift = 8 * i;
      this.layout.powerOn[at] = powerOn >>> shift;
      this.layout.rw[at] = (access.rw ?? 0) >>> shift;
      this.layout.w1c[at] = (access.w1c ?? 0) >>> shift;
      this.layout.action[at] = (access.action ?? 0) >>> shift;
    }
  }
}
