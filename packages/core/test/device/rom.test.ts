import { Task } from "@vfiokit/lockdep";
import { expect, it } from "vitest";
import { definePciDevice, mmio, PciDevice, RegionIndex } from "@vfiokit/core";

it("a write to the ROM region is refused, and changes nothing", () => {
  const device = new PciDevice(
    definePciDevice({
      name: "rom",
      id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
      bars: [mmio({ size: 0x1000 })],
      rom: Uint8Array.of(0x55, 0xaa),
      create: () => ({ read: () => 0, write: () => undefined, reset: () => undefined }),
    }),
  );
  const task = new Task("test");
  expect(() => device.writeRegion(task, RegionIndex.ROM, 0, 2, new Uint8Array(2), 0)).toThrow(
    "EINVAL: the ROM region is read-only",
  );
  const bytes = new Uint8Array(2);
  void device.readRegion(task, RegionIndex.ROM, 0, 2, bytes, 0);
  expect([...bytes]).toEqual([0x55, 0xaa]);
});
