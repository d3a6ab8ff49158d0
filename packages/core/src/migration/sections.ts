import { VfioError } from "../errno.js";
import { ByteReader, ByteWriter, type Codec } from "./codec.js";
import type { Field } from "./fields.js";
import type { TrackedMemory } from "./tracked-memory.js";

export { memory, trackedMemory } from "./memory-section.js";
export { array, bool, bytes, u16, u32, u64, u8, type Field, type FieldOptions } from "./fields.js";

/** A piece of a device's state on its way: what the migration stream carries. */
export interface SavedSection {
  readonly name: string;
  readonly version: number;
  /** A reader that does not know this name, or not this version, may go on without it. */
  readonly optional: boolean;
  /** Of a `memory` section these are the live bytes: write them out before the device runs again. */
  readonly bytes: Uint8Array;
}

/** Memory that migrates: a stream is read from it and loaded into it directly, without a copy in between. */
export interface MigratedMemory {
  /** The newest version of its section: what its bytes mean. */
  readonly version: number;
  /** Bytes. */
  readonly size: number;
  readonly bytes: Uint8Array;
  /** Undefined: nobody knows which of its pages are written. */
  readonly tracked: TrackedMemory | undefined;
  write(offset: number, from: Uint8Array): void;
}

/** A section that a device can save and load. */
export interface DeclaredSection {
  readonly name: string;
  /** The newest that it reads, and writes where it has to. */
  readonly version: number;
  /** See SavedSection. */
  readonly optional: boolean;
  /** Bytes, of a section that is memory: it has no other size. */
  readonly size?: number;
}

/** A state that can be saved and loaded: what `sections` returns. */
export interface StateSections {
  /** What is in it, whatever its values are. */
  readonly declared?: readonly DeclaredSection[];
  /** The sections that are memory, by name. */
  readonly memories?: ReadonlyMap<string, MigratedMemory>;
  /** @throws VfioError EINVAL if a value does not fit its codec (a mistake in the device). */
  save(): SavedSection[];
  /**
   * Phase one of a load: decodes and checks everything and touches nothing. The function that it returns is
   * phase two: it puts the values into the device and does not fail.
   * @throws VfioError EINVAL naming the section, the field and the rule.
   */
  prepare(saved: readonly SavedSection[]): () => void;
}

/** One section, declared. Most devices use `section`; an unusual state can implement this itself. */
export interface Section {
  /** The newest version that `decode` understands. */
  readonly version: number;
  /** See SavedSection. */
  readonly optional: boolean;
  /** For a section that is memory: it is loaded into directly. */
  readonly memory?: MigratedMemory;
  /** Undefined: nothing worth sending (`decodeAbsent` restores it). */
  encode(): { readonly version: number; readonly bytes: Uint8Array } | undefined;
  /** Checks everything, changes nothing, returns the commit. @throws VfioError EINVAL */
  decode(bytes: Uint8Array, version: number): () => void;
  /** The commit for a stream without this section. @throws VfioError EINVAL if it is indispensable. */
  decodeAbsent(): () => void;
}

type FieldValues<F> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** What a section may say beside its fields. */
export interface SectionOptions<F> {
  /** An older reader may go on without this section, whatever it holds. */
  readonly optional?: boolean;
  /** A rule between the fields: why these values cannot be together, or undefined if they can. */
  validate?(values: FieldValues<F>): string | undefined;
}

/**
 * Several fields that belong together. Its version is that of its newest field (`since`).
 *
 * Old and new devices migrate both ways: a section is written in the oldest version that loses nothing, so a
 * newer device whose new fields hold their defaults can go back to an older one, and a section whose fields all
 * hold their defaults is left out. What an older reader would lose, it refuses, unless the section is optional.
 */
export function section<F extends Record<string, Field<unknown>>>(
  fields: F,
  options: SectionOptions<F> = {},
): Section {
  return new FieldSection(fields, options.optional ?? false, (values) =>
    options.validate?.(values as FieldValues<F>),
  );
}

class FieldSection implements Section {
  readonly version: number;
  readonly optional: boolean;
  readonly #fields: readonly (readonly [string, Field<unknown>])[];
  readonly #validate: (values: Record<string, unknown>) => string | undefined;

  constructor(
    fields: Record<string, Field<unknown>>,
    optional: boolean,
    validate: (values: Record<string, unknown>) => string | undefined,
  ) {
    const entries = Object.entries(fields);
    for (const [name, { since = 1, default: fallback }] of entries) {
      if (since > 1 && fallback === undefined) {
        throw new VfioError("EINVAL", `field ${name}: since version ${since}, so it needs a default`);
      }
    }
    // In the order of the versions: a reader of an older version finds its fields first.
    this.#fields = entries.toSorted(([, a], [, b]) => (a.since ?? 1) - (b.since ?? 1));
    this.version = Math.max(1, ...entries.map(([, { since }]) => since ?? 1));
    this.optional = optional;
    this.#validate = validate;
  }

  encode(): { version: number; bytes: Uint8Array } | undefined {
    const current = this.#fields.map(([, f]) => f.get());
    const isDefault = (f: Field<unknown>, i: number) =>
      f.default !== undefined && f.codec.equal(current[i], f.default);

    let version = 0;
    for (const [i, [, f]] of this.#fields.entries()) {
      if (!isDefault(f, i)) version = Math.max(version, f.since ?? 1);
    }
    if (version === 0) return undefined;

    const written = this.#upTo(version);
    const out = new ByteWriter(written.reduce((sum, [, f], i) => sum + f.codec.size(current[i]), 0));
    for (const [i, [name, f]] of written.entries()) {
      within(`field ${name}`, () => f.codec.write(current[i], out));
    }
    return { version, bytes: out.bytes };
  }

  decode(encoded: Uint8Array, version: number): () => void {
    const from = new ByteReader(encoded);
    const values = new Map<string, unknown>();
    for (const [name, f] of this.#upTo(version)) {
      within(`field ${name}`, () => values.set(name, f.codec.read(from)));
    }
    if (from.remaining > 0) {
      throw new VfioError("EINVAL", `${from.remaining} bytes too many for version ${version}`);
    }
    return this.#commit(values);
  }

  decodeAbsent(): () => void {
    return this.#commit(new Map());
  }

  #upTo(version: number): (readonly [string, Field<unknown>])[] {
    return this.#fields.filter(([, { since = 1 }]) => since <= version);
  }

  /** Fills up with defaults, checks the values, and returns the function that sets them. */
  #commit(values: Map<string, unknown>): () => void {
    for (const [name, f] of this.#fields) {
      if (values.has(name)) {
        if (f.valid?.(values.get(name)) === false) {
          throw new VfioError("EINVAL", `field ${name}: not one of its valid values`);
        }
      } else if (f.default === undefined) {
        throw new VfioError("EINVAL", "missing from the stream");
      } else {
        values.set(name, copyOf(f.codec, f.default));
      }
    }
    const problem = this.#validate(Object.fromEntries(values));
    if (problem !== undefined) throw new VfioError("EINVAL", problem);
    return () => {
      for (const [name, f] of this.#fields) f.set(values.get(name));
    };
  }
}

/** A default is declared once and loaded often: what a device does with its own must not change it. */
function copyOf<T>(codec: Codec<T>, value: T): T {
  const out = new ByteWriter(codec.size(value));
  codec.write(value, out);
  return codec.read(new ByteReader(out.bytes));
}

/**
 * Declares what a device migrates: `sections({ value: u32(() => this.value, (v) => (this.value = v)) })`. The
 * keys are the names in the stream. A bare field is a section of its own; it can be added to a device later if
 * it has a default.
 */
export function sections(declared: Record<string, Field<unknown> | Section>): StateSections {
  const known = new Map<string, Section>();
  for (const [name, item] of Object.entries(declared)) {
    known.set(name, "codec" in item ? section({ value: item }) : item);
  }
  const memories = new Map<string, MigratedMemory>();
  for (const [name, { memory }] of known) if (memory) memories.set(name, memory);
  return {
    declared: [...known].map(([name, { version, optional, memory }]) => ({
      name,
      version,
      optional,
      ...(memory && { size: memory.size }),
    })),
    memories,
    save: () => save(known),
    prepare: (saved) => prepare(known, saved),
  };
}

function save(known: ReadonlyMap<string, Section>): SavedSection[] {
  const saved: SavedSection[] = [];
  for (const [name, declaration] of known) {
    const encoded = within(`section ${name}`, () => declaration.encode());
    if (encoded) saved.push({ name, optional: declaration.optional, ...encoded });
  }
  return saved;
}

function prepare(known: ReadonlyMap<string, Section>, saved: readonly SavedSection[]): () => void {
  const commits: (() => void)[] = [];
  const seen = new Set<string>();
  for (const { name, version, optional, bytes } of saved) {
    const declaration = known.get(name);
    if (!declaration && !optional) {
      throw new VfioError("EINVAL", `section ${name}: this device does not know it and it is not optional`);
    }
    // An optional section from a newer device is as good as unknown: its fields get their defaults below.
    if (!declaration || (optional && version > declaration.version)) continue;
    within(`section ${name}`, () => {
      if (seen.has(name)) throw new VfioError("EINVAL", "given twice");
      if (version < 1 || version > declaration.version) {
        throw new VfioError("EINVAL", `version ${version}, this device reads 1 to ${declaration.version}`);
      }
      commits.push(declaration.decode(bytes, version));
    });
    seen.add(name);
  }
  for (const [name, declaration] of known) {
    if (!seen.has(name)) commits.push(within(`section ${name}`, () => declaration.decodeAbsent()));
  }
  return () => {
    for (const commit of commits) commit();
  };
}

/** Runs a step and puts where it was in front of what it refuses. */
function within<T>(where: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (!(error instanceof VfioError)) throw error;
    throw new VfioError(error.code, `${where}: ${error.message.slice(error.code.length + 2)}`);
  }
}
