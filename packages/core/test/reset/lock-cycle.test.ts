import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Task, formatProblem, lockdep, type Problem } from "@vfiokit/lockdep";
import { DeviceSet, PciDevice, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { MigrationState } from "@vfiokit/core/migration";
import { generationStrategy, migrationOf, type ResetStrategy } from "@vfiokit/core/lab";
import { BAR_MEMORY, counterDefinition } from "../device/counter.js";

/** What Linux's pds, hisi_acc and qat do: reset_done takes state_mutex, under whatever the initiator holds. */
const lockedStrategy: ResetStrategy = {
  name: "locked",
  isOutdated: () => false,
  happened: () => undefined,
  async resetDone({ migration }, task) {
    if (!migration) return;
    const wait = migration.stateMutex.lock(task);
    if (wait) await wait;
    await migration.resetRecord(task);
    migration.stateMutex.unlock(task);
  },
  memoryLockReleased: () => undefined,
  pathDone: () => undefined,
  entered: () => undefined,
  unlock: (migration, task) => migration.stateMutex.unlock(task),
};

/** The posted patch in a hot reset: each driver is called as its own memoryLock is released, others still held. */
const callbackStrategy: ResetStrategy = {
  ...lockedStrategy,
  name: "callback",
  resetDone: () => undefined,
  memoryLockReleased: (device, task, outcome) => lockedStrategy.resetDone(device, task, outcome),
};

const MEMORY_AT = 0x1000_0000n;
const BUFFER_AT = 0x2000_0000n;

/** One of everything that can take a lock, one after the other: no two tasks ever meet. */
async function exercise(strategy: ResetStrategy, functions: number): Promise<void> {
  const set = new DeviceSet();
  const devices = Array.from({ length: functions }, (_, i) => {
    const { definition } = counterDefinition();
    return new PciDevice(definition, { name: `counter.${i}`, set, strategy });
  });
  const device = devices[0]!;
  const config = new Task("VMM: enable memory");
  await device.writeRegion(
    config,
    RegionIndex.CONFIG,
    PciHeader.COMMAND,
    2,
    Uint8Array.of(PciCommand.MEMORY | PciCommand.MASTER, 0),
    0,
  );

  // vfio_pin_dma: mapping a BAR for peer-to-peer DMA faults it in. mmapLock -> memoryLock
  const bytes = device.mapBar(BAR_MEMORY);
  await bytes.fault(config);
  const pin = new Task("VMM: map a BAR");
  const backing = device.barBacking(BAR_MEMORY);
  await device.dma.map(pin, { address: MEMORY_AT, size: 0x2000n, readable: true, writable: true, backing });
  const buffer = new Uint8Array(0x1000);
  await device.dma.map(pin, {
    address: BUFFER_AT,
    size: 0x1000n,
    readable: true,
    writable: true,
    backing: { bytes: buffer, read: () => undefined, write: () => undefined, release: () => undefined },
  });

  // data_read: copying to the user may fault. session.lock -> mmapLock
  const migrate = new Task("VMM: migrate");
  await device.migration!.setState(migrate, MigrationState.STOP_COPY);
  expect(await migrationOf(device)!.readDataTo(migrate, device.dma, BUFFER_AT, 64)).toBe(64);
  expect(buffer.some((byte) => byte !== 0)).toBe(true);
  // Leaving a saving state closes its session. stateMutex -> session.lock
  await device.migration!.setState(migrate, MigrationState.STOP);

  const reset = new Task("VMM: reset");
  if (functions === 1) await device.reset(reset);
  else await set.hotReset(reset, new Set(devices));
}

function names(problem: Problem | undefined): string {
  return problem ? formatProblem(problem) : "";
}

describe("the lock order of a reset in the middle of a migration", () => {
  const problems: Problem[] = [];
  let before: typeof lockdep.mode;

  beforeEach(() => {
    before = lockdep.mode;
    problems.length = 0;
    lockdep.reset();
    lockdep.configure({ mode: (problem) => problems.push(problem) });
  });

  afterEach(() => {
    lockdep.configure({ mode: before });
    lockdep.reset();
  });

  it("has no cycle in the default design, for one function and for a hot reset of two", async () => {
    await exercise(generationStrategy, 1);
    await exercise(generationStrategy, 2);
    expect(problems.map(names)).toEqual([]);
  });

  it("has the four-edge cycle of the kernel when reset_done takes stateMutex", async () => {
    await exercise(lockedStrategy, 1);
    expect(problems).toHaveLength(1);
    const text = names(problems[0]);
    for (const lock of ["stateMutex", "session.lock", "mmapLock", "memoryLock"]) expect(text).toContain(lock);
    for (const where of ["Migration.setState", "DmaAddressSpace.write", "BarBacking.pin", "resetDevice"])
      expect(text).toContain(where);
  });

  it("has it again in the patch as posted, from two functions on", async () => {
    await exercise(callbackStrategy, 1);
    expect(problems.map(names)).toEqual([]);
    await exercise(callbackStrategy, 2);
    expect(names(problems[0])).toContain("possible circular locking dependency");
  });
});
