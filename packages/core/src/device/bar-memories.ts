import { VfioError } from "../errno.js";
import type { DmaBacking, MemoryProvider, SharedMemory } from "../memory.js";
import type { Bar } from "../pci/index.js";
import { BarBacking, BarMapping, type MappableDevice } from "./bar-mapping.js";

/** The bytes of a device's memory-like BARs, and the mappings of them in this process. */
export class BarMemories {
  /** By BAR number. Undefined: it is not memory. */
  readonly shared: readonly (SharedMemory | undefined)[];
  readonly #mappings = new Set<BarMapping>();

  constructor(
    private readonly device: MappableDevice,
    bars: readonly (Bar | undefined)[],
    provider: MemoryProvider,
  ) {
    this.shared = allocateAll(provider, device.name, bars);
  }

  /** @throws VfioError EINVAL: the BAR is not declared as memory */
  bytes(bar: number): Uint8Array {
    const memory = this.shared[bar];
    if (!memory) throw new VfioError("EINVAL", `${this.device.name}: BAR ${bar} is not declared as memory`);
    return memory.bytes;
  }

  /** @throws VfioError EINVAL: the BAR is not declared as memory */
  map(bar: number): BarMapping {
    const mapping = new BarMapping(this.device, this.bytes(bar), (gone) => this.#mappings.delete(gone));
    this.#mappings.add(mapping);
    return mapping;
  }

  /** @throws VfioError EINVAL: the BAR is not declared as memory */
  backing(bar: number): DmaBacking {
    return new BarBacking(this.device, this.bytes(bar));
  }

  /** Empties the mappings: the next touch of each faults again. Under memoryLock held for writing. */
  zap(): void {
    for (const mapping of this.#mappings) mapping.zap();
  }

  close(): void {
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
    for (const memory of this.shared) memory?.[Symbol.dispose]();
  }
}

/** The memory of every memory BAR, by BAR number, or none of it. @throws what the provider throws */
function allocateAll(
  provider: MemoryProvider,
  name: string,
  bars: readonly (Bar | undefined)[],
): (SharedMemory | undefined)[] {
  const memories: (SharedMemory | undefined)[] = [];
  try {
    for (const bar of bars)
      memories.push(
        bar?.declaration.kind === "memory"
          ? provider.allocate(`${name}-bar${bar.slot}`, bar.declaration.size)
          : undefined,
      );
    return memories;
  } catch (error) {
    for (const memory of memories) memory?.[Symbol.dispose]();
    throw error;
  }
}
