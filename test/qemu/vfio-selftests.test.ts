import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { vfiokit } from "./cards.js";
import { GuestVfio } from "./guest-vfio.js";
import { describeWithQemu } from "./lab.js";
import { runSelftest, vfioSelftests, type SelftestCounts } from "./linux-selftests.js";
import { Qemu, type DeviceOptions } from "./qemu.js";
import { slot, type Place } from "./tty.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;

/** Debian's kernels have no iommufd: of tests that come in all modes, these two run. */
const TYPE1 = ["vfio_type1_iommu", "vfio_type1v2_iommu"];
const PAGES = ["anonymous", "anonymous_hugetlb_2mb", "anonymous_hugetlb_1gb"];
/** Linux's programs, and which of their variants run. The others are about iommufd, SR-IOV, and other devices. */
const programs = {
  vfio_pci_device_test: [],
  vfio_dma_mapping_test: TYPE1.flatMap((mode) => [mode, ...PAGES.map((pages) => `${mode}_${pages}`)]),
  vfio_dma_mapping_mmio_test: TYPE1,
  vfio_pci_device_init_perf_test: TYPE1,
} as const;
type Program = keyof typeof programs;
const NAMES = Object.keys(programs) as Program[];

const counts = (passed: number, skipped = 0): SelftestCounts => ({ passed, skipped, failed: 0 });

interface Card {
  readonly device: string;
  readonly options: readonly string[];
  /** Its root port's device number. */
  readonly addr: string;
  /** What passes, and what does not apply to this device or this machine. */
  readonly counts: Readonly<Record<Program, SelftestCounts>>;
}

const MAPPING = counts(12);
const INIT = counts(2);

const cards: readonly Card[] = [
  {
    // As much as a device of ours can have: MSI and MSI-X, a BAR of several pages that can be mapped, FLR.
    device: "counter",
    options: ["--functions", "1", "--scratch", "whole", "--msix"],
    addr: "0x10",
    counts: {
      vfio_pci_device_test: counts(5),
      vfio_dma_mapping_test: MAPPING,
      vfio_dma_mapping_mmio_test: counts(6),
      vfio_pci_device_init_perf_test: INIT,
    },
  },
  {
    device: "memory-card",
    options: [],
    addr: "0x11",
    counts: {
      vfio_pci_device_test: counts(3, 2),
      vfio_dma_mapping_test: MAPPING,
      vfio_dma_mapping_mmio_test: counts(4, 2),
      vfio_pci_device_init_perf_test: INIT,
    },
  },
  {
    device: "serial",
    options: ["--chardev", "null"],
    addr: "0x12",
    counts: {
      vfio_pci_device_test: counts(3, 2),
      vfio_dma_mapping_test: MAPPING,
      vfio_dma_mapping_mmio_test: counts(0, 6),
      vfio_pci_device_init_perf_test: INIT,
    },
  },
];
// `npm run test:vfio-selftests` runs them on all devices.
const tested = process.env["VFIOKIT_LONG"] === "1" ? cards : cards.slice(0, 1);

it("docs/conformance.md has the counts of each device", () => {
  const page = readFileSync(new URL("../../docs/conformance.md", import.meta.url), "utf8");
  const rows = [...page.matchAll(/^\| `([\w-]+)` .*?\| +(\d+) +\| +(\d+) +\|/gm)];
  const sum = (one: Card, field: keyof SelftestCounts) =>
    Object.values(one.counts).reduce((total, some) => total + some[field], 0);
  expect(rows.map(([, ...cells]) => cells)).toEqual(
    cards.map((one) => [one.device, `${sum(one, "passed")}`, `${sum(one, "skipped")}`]),
  );
});

/** Linux's own tests of VFIO, on a real kernel's vfio-pci above our devices behind QEMU's vfio-user client. */
describeWithQemu("Linux's VFIO selftests pass on", (lab) => {
  const undo = new Undo();
  let qemu: Qemu;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    const devices: DeviceOptions[] = [];
    for (const { device, options } of tested) {
      const server = vfiokit("serve", device, ...options, "--socket-path", scratch.outside(device));
      undo.add(async () => expect(await server.kill("SIGTERM"), server.output).toBe(0));
      await server.printed(/-device/);
      const socket = { type: "unix", path: scratch.inside(device) };
      devices.push({ driver: "vfio-user-pci", id: device, bus: `${device}-port`, socket });
    }
    qemu = await Qemu.start(lab, {
      memory: 2560,
      iommu: true,
      rootPorts: tested.map(({ device, addr }) => ({ id: `${device}-port`, addr })),
      devices,
      modules: ["vfio-pci", "vfio_iommu_type1"],
      otherPrograms: vfioSelftests(lab, NAMES),
      // One is 1 GiB: with that much of the guest's memory, no test on huge pages is skipped.
      kernelArgs: "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=64",
    });
    undo.add(() => qemu.stop());
    await qemu.guest.ok("modprobe vfio_iommu_type1; modprobe vfio-pci");
    await GuestVfio.bind(qemu.guest, tested.map(place));
  }, 5 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  const place = ({ device, addr }: Card): Place => slot({ id: device, addr });

  it.each(tested)(
    "$device",
    async (card) => {
      const address = await qemu.guest.ok(`basename ${place(card).sysfs}`);
      const results: Partial<Record<Program, SelftestCounts>> = {};
      for (const name of NAMES) results[name] = await runSelftest(qemu.guest, name, programs[name], address);
      expect(results).toEqual(card.counts);
    },
    5 * MINUTES,
  );
});
