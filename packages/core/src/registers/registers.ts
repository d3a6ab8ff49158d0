import { VfioError } from "../errno.js";
import { u16, u32, u8, type Field } from "../migration/fields.js";

/** What software may do to a register: read, read and write, write 1 to clear, write alone. */
type Access = "ro" | "rw" | "rw1c" | "wo";

/** What a register may say beside its width. */
export interface RegisterOptions {
  /** Bits that the register has; a write of others is dropped, a stream with others refused. Default: all 32. */
  readonly mask?: number;
  /** The value after power-on and reset. Default: 0. */
  readonly reset?: number;
  /**
   * How it is written into the migration stream. Default: "u32". "none": it holds no state of its own, as a command
   * register or a window to something else.
   */
  readonly stream?: "u8" | "u16" | "u32" | "none";
  /** The version of its section that introduced it (1): in older streams it has its reset value. */
  readonly since?: number;
}

/** A register of 32 bits, as data. */
export interface RegisterDeclaration extends RegisterOptions {
  /** In bytes, from the start of the BAR; a multiple of 4. */
  readonly offset: number;
  readonly access: Access;
}

function declare(access: Access, offset: number, options: RegisterOptions = {}): RegisterDeclaration {
  return { access, offset, ...options };
}

/** Software reads and writes it. */
export const rw = (offset: number, options?: RegisterOptions) => declare("rw", offset, options);
/** Software reads it, and writes to it are dropped. */
export const ro = (offset: number, options?: RegisterOptions) => declare("ro", offset, options);
/** Software clears the bits that it writes as 1. */
export const rw1c = (offset: number, options?: RegisterOptions) => declare("rw1c", offset, options);
/** A write does something: it needs a `write` hook. Holds no state, and reads as 0. */
export const wo = (offset: number, options?: RegisterOptions) =>
  declare("wo", offset, { stream: "none", ...options });

/** What a register does beyond holding a value. */
export interface RegisterHooks {
  /** Answers a read in the value's place. */
  read?(): number;
  /** Takes a write in the value's place; bits outside of the mask are 0. */
  write?(value: number): void;
  /** The value has been written by software. */
  written?(): void;
}

/**
 * A bank of registers of 32 bits: what `read`, `write`, `reset` and `state` of a `PciFunction` need, from one declaration.
 * Registers are accessed whole: a narrower read gives 0, a narrower write is dropped, and so is any at an offset without
 * a register.
 */
export interface Registers<Name extends string> {
  /** What each register holds. The device writes here what it likes; software's masks do not apply. */
  readonly values: Record<Name, number>;
  /**
   * A field for each register that migrates, in the order of the declaration: `sections({ ...bank.fields })` for a section
   * each, `section(bank.fields)` for one of all.
   */
  readonly fields: Readonly<Record<string, Field<number>>>;
  read(offset: number, size: number): number;
  write(offset: number, value: number, size: number): void;
  /** Puts each value at what it is after power-on. Calls no hook. */
  reset(): void;
}

/**
 * Declares a bank of registers: `registers({ count: rw(0x08), status: rw1c(0x10, { mask: 3 }) })`.
 * @param hooks what single registers do beyond holding a value
 * @throws VfioError EINVAL: naming the register and the rule that its declaration breaks
 */
export function registers<D extends Readonly<Record<string, RegisterDeclaration>>>(
  declared: D,
  hooks: { readonly [Name in keyof D]?: RegisterHooks } = {},
): Registers<keyof D & string> {
  return new RegisterBank<keyof D & string>(declared, hooks);
}

const WIDTH = 4;
const streamTypes = { u8, u16, u32 };

interface Register extends RegisterHooks {
  readonly name: string;
  readonly access: Access;
  readonly mask: number;
  readonly resetValue: number;
}

class RegisterBank<Name extends string> implements Registers<Name> {
  readonly values: Record<Name, number>;
  readonly fields: Readonly<Record<string, Field<number>>>;
  /** By offset / 4: an access looks its register up and allocates nothing. */
  readonly #at: (Register | undefined)[] = [];

  constructor(
    declared: Readonly<Record<string, RegisterDeclaration>>,
    hooks: Readonly<Record<string, RegisterHooks | undefined>>,
  ) {
    const values: Record<string, number> = {};
    const fields: Record<string, Field<number>> = {};
    for (const [name, { offset, access, mask = 0xffffffff, reset = 0, ...more }] of Object.entries(
      declared,
    )) {
      const register: Register = { name, access, mask: mask >>> 0, resetValue: reset >>> 0, ...hooks[name] };
      this.#place(register, offset);
      values[name] = register.resetValue;
      const { stream = "u32", since = 1 } = more;
      if (stream === "none") continue;
      fields[name] = streamTypes[stream](
        () => values[name]!,
        (value) => (values[name] = value),
        {
          valid: (value) => (value & ~register.mask) === 0,
          ...(since > 1 && { since, default: register.resetValue }),
        },
      );
    }
    this.values = values;
    this.fields = fields;
  }

  read(offset: number, size: number): number {
    const register = this.#find(offset, size);
    if (!register) return 0;
    return register.read ? register.read() : this.values[register.name as Name];
  }

  write(offset: number, value: number, size: number): void {
    const register = this.#find(offset, size);
    if (!register) return;
    const masked = (value & register.mask) >>> 0;
    if (register.write) {
      register.write(masked);
      return;
    }
    const name = register.name as Name;
    if (register.access === "rw") this.values[name] = masked;
    else if (register.access === "rw1c") this.values[name] = (this.values[name] & ~masked) >>> 0;
    else return;
    register.written?.();
  }

  reset(): void {
    for (const register of this.#at) {
      if (register) this.values[register.name as Name] = register.resetValue;
    }
  }

  #find(offset: number, size: number): Register | undefined {
    return size === WIDTH ? this.#at[offset / WIDTH] : undefined;
  }

  #place(register: Register, offset: number): void {
    const refuse = (rule: string) => new VfioError("EINVAL", `register ${register.name}: ${rule}`);
    if (!Number.isInteger(offset / WIDTH) || offset < 0)
      throw refuse(`offset ${offset}: a multiple of ${WIDTH}, from 0`);
    const there = this.#at[offset / WIDTH];
    if (there) throw refuse(`offset ${offset} is that of ${there.name}`);
    if ((register.resetValue & ~register.mask) !== 0)
      throw refuse(`reset value ${register.resetValue}: has bits outside of mask ${register.mask}`);
    if (register.access === "wo" && !register.write) throw refuse("write alone, so it needs a write hook");
    if (register.access === "ro" && register.write)
      throw refuse("read alone, so its write hook is never called");
    this.#at[offset / WIDTH] = register;
  }
}
