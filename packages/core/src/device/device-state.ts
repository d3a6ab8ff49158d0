import { VfioError } from "../errno.js";
import type { IrqController, IrqSnapshot } from "../irq/index.js";
import type { SharedMemory } from "../memory.js";
import {
  bool,
  bytes,
  memory,
  section,
  sections,
  type Section,
  type StateSections,
} from "../migration/sections.js";
import type { ConfigSpace, MsixTable } from "../pci/index.js";

interface Parts {
  readonly config: ConfigSpace;
  readonly irqs: IrqController;
  readonly msixTable: MsixTable | undefined;
  /** By BAR number: the bytes of memory-like BARs. */
  readonly memories: readonly (SharedMemory | undefined)[];
  /** What the device itself declares. */
  readonly device: StateSections;
  /** Called when everything has been loaded. */
  loaded(): void;
}

/** Names of the core's own sections begin with this; a device's must not. */
const PREFIX = "pci.";

/**
 * The whole state of a device: what the core keeps for it (configuration space, interrupts, MSI-X table, the bytes
 * of memory-like BARs) and what it declares itself. The client's part (DMA maps, triggers, SET_IRQS masks) is not in
 * it: the destination's client sets that up.
 */
export function deviceState(parts: Parts): StateSections {
  const core = coreSections(parts);
  return {
    declared: [...(core.declared ?? []), ...(parts.device.declared ?? [])],
    memories: new Map([...(core.memories ?? []), ...(parts.device.memories ?? [])]),
    save: () => {
      const own = parts.device.save();
      for (const { name } of own) {
        if (name.startsWith(PREFIX))
          throw new VfioError("EINVAL", `section ${name}: "${PREFIX}" is the core's prefix`);
      }
      return [...core.save(), ...own];
    },
    prepare: (saved) => {
      const isCore = ({ name }: { name: string }) => name.startsWith(PREFIX);
      const commitCore = core.prepare(saved.filter(isCore));
      const commitDevice = parts.device.prepare(saved.filter((s) => !isCore(s)));
      return () => {
        commitCore();
        commitDevice();
        parts.loaded();
      };
    },
  };
}

function coreSections({ config, irqs, msixTable, memories }: Parts): StateSections {
  const declared: Record<string, Section> = {
    [`${PREFIX}config`]: section({
      space: bytes(
        { length: config.size },
        () => config.snapshot(),
        (saved) => config.load(saved),
      ),
    }),
    [`${PREFIX}irq`]: irqSection(irqs),
  };
  if (msixTable) {
    declared[`${PREFIX}msix`] = section({
      table: bytes(
        { length: msixTable.tableSize },
        () => msixTable.snapshot(),
        (saved) => msixTable.load(saved),
      ),
    });
  }
  memories.forEach((shared, bar) => {
    if (shared) declared[`${PREFIX}bar${bar}`] = memory(shared.bytes.length, () => shared.bytes);
  });
  return sections(declared);
}

function irqSection(irqs: IrqController): Section {
  const maskBytes = Math.ceil(irqs.msix.count / 8);
  // Fields of one snapshot: collected, and loaded with the last.
  const loading: { -readonly [K in keyof IrqSnapshot]?: IrqSnapshot[K] } = {};
  return section({
    intxAsserted: bool(
      () => irqs.snapshot().intxAsserted,
      (value) => (loading.intxAsserted = value),
    ),
    msiPending: bytes(
      { length: Math.ceil(irqs.msi.count / 8) },
      () => irqs.snapshot().msiPending,
      (value) => (loading.msiPending = value),
    ),
    msixPending: bytes(
      { length: Math.ceil(irqs.msix.count / 8) },
      () => irqs.snapshot().msixPending,
      (value) => (loading.msixPending = value),
    ),
    msixMasked: bytes(
      { length: maskBytes },
      () => irqs.snapshot().msixMasked,
      (value) => {
        loading.msixMasked = value;
        irqs.load(loading as IrqSnapshot);
      },
      { since: 2, default: new Uint8Array(maskBytes) },
    ),
  });
}
