import { VfioError } from "../errno.js";
import type { MigratedMemory, Section } from "./sections.js";
import type { TrackedMemory } from "./tracked-memory.js";

/**
 * `length` bytes of live memory, always the whole of it, in a section of its own: sent while the device is stopped, and
 * loaded without a second copy. Memory that is written by the device alone is better a `trackedMemory`.
 */
export function memory(length: number, view: () => Uint8Array): Section {
  return memorySection({
    version: 1,
    size: length,
    get bytes() {
      return view();
    },
    tracked: undefined,
    write: (offset, from) => view().set(from, offset),
  });
}

/** Memory that is sent while the device runs, and of which only what has changed is sent again (PRE_COPY). */
export function trackedMemory(tracked: TrackedMemory): Section {
  const { size, bytes } = tracked;
  return memorySection({
    version: 1,
    size,
    bytes,
    tracked,
    write: (offset, from) => tracked.write(offset, from),
  });
}

function memorySection(memory: MigratedMemory): Section {
  return {
    version: memory.version,
    optional: false,
    memory,
    encode: () => ({ version: memory.version, bytes: memory.bytes }),
    decode(saved) {
      if (saved.byteLength !== memory.size) {
        throw new VfioError("EINVAL", `${saved.byteLength} bytes, the memory has ${memory.size}`);
      }
      return () => {
        // What a stream has loaded is there already.
        if (saved !== memory.bytes) memory.write(0, saved);
      };
    },
    decodeAbsent() {
      throw new VfioError("EINVAL", "missing from the stream");
    },
  };
}
