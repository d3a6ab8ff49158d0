import { expect, it } from "vitest";
import { createBacking, createMemfd, MAX_MAPPINGS, openFds, openMappings } from "@vfiokit/user/linux";

const PAGE = 4096;

it("65,535 maps of one page each do not end the process: what the kernel would refuse is read and written", () => {
  const before = { fds: openFds(), mappings: openMappings() };
  const count = 65_535;
  // Every other page: adjacent ones the kernel would merge into one mapping.
  using memory = createMemfd("client", 2 * count * PAGE);
  const backings = Array.from({ length: count }, (_, n) =>
    createBacking(memory.duplicate(), { offset: 2 * n * PAGE, length: PAGE, writable: true, access: "mmap" }),
  );
  try {
    expect(openMappings()).toBe(Math.min(count, MAX_MAPPINGS));
    // One descriptor for all that are not mapped.
    expect(openFds() - before.fds).toBe(openMappings() < count ? 2 : 1);
    const bytes = new Uint8Array(4);
    for (const n of [0, count - 1]) {
      backings[n]!.write(8, Uint8Array.of(1, 2, 3, n & 0xff));
      backings[n]!.read(8, bytes);
      expect([...bytes]).toEqual([1, 2, 3, n & 0xff]);
    }
  } finally {
    for (const backing of backings) backing.release();
  }
  expect({ fds: openFds() - 1, mappings: openMappings() }).toEqual(before);
}, 60_000);
