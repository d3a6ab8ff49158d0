import { describe, expect, it } from "vitest";
import { FakeSysfs } from "../../user/test/kernel/fake-sysfs.js";
import { Vfiokit } from "./vfiokit.js";

const NVME = { address: "0000:01:00.0", driver: "nvme", group: "12" };
const NETWORK = { address: "0000:01:00.1", driver: "e1000e", group: "12", classCode: 0x020000 };
const GIVEN = { address: "0000:02:00.0", driver: "vfio-pci", group: "13", vfio: "vfio0" };
const BRIDGE = { address: "0000:00:1c.0", driver: "pcieport", group: "2", classCode: 0x060400 };

/** Runs a command on a fake tree. */
async function on(functions: ConstructorParameters<typeof FakeSysfs>[0], ...args: string[]) {
  using fake = new FakeSysfs(functions);
  const { code, stdout, stderr } = await Vfiokit.run(...args, "--sysfs", fake.sys);
  return { code, stdout: stdout.replaceAll(fake.root, ""), stderr: stderr.replaceAll(fake.root, "") };
}

describe("vfiokit list", () => {
  const all = [NVME, NETWORK, GIVEN, BRIDGE];

  it("shows drivers, and groups with all of their members", async () => {
    const { code, stdout } = await on(all, "list");
    expect(stdout.trimEnd().split("\n")).toEqual([
      "DEVICE             ID         CLASS  DRIVER    GROUP  GROUP'S OTHERS",
      "0000:01:00.0       1b36:0010  0108   nvme      12     0000:01:00.1",
      "0000:01:00.1       1b36:0010  0200   e1000e    12     0000:01:00.0",
      "vfio:0000:02:00.0  1b36:0010  0108   vfio-pci  13",
    ]);
    expect(code).toBe(0);
  });

  it("--all has bridges; --json has the same as data", async () => {
    const { stdout } = await on(all, "list", "--all", "--json");
    const { iommu, functions } = JSON.parse(stdout) as { iommu: boolean; functions: { address: string }[] };
    expect(iommu).toBe(true);
    expect(functions.map(({ address }) => address)).toEqual(all.map(({ address }) => address).sort());
    expect(functions.at(-1)).toMatchObject({ driver: "vfio-pci", vfio: "vfio0", members: [GIVEN.address] });
  });

  it("says so when there is no IOMMU", async () => {
    expect((await on([{ address: "0000:01:00.0", driver: "nvme" }], "list")).stdout).toContain(
      "No IOMMU: it is off",
    );
  });
});

describe("vfiokit bind", () => {
  it("--dry-run prints what it would write, and who is in the way", async () => {
    const { code, stdout, stderr } = await on([NVME, NETWORK], "bind", "01:00.0", "--dry-run");
    expect(stdout.trimEnd().split("\n")).toEqual([
      "echo vfio-pci >/sys/bus/pci/devices/0000:01:00.0/driver_override",
      "echo 0000:01:00.0 >/sys/bus/pci/devices/0000:01:00.0/driver/unbind",
      "echo 0000:01:00.0 >/sys/bus/pci/drivers_probe",
    ]);
    expect(stderr).toContain("0000:01:00.1 is in its group, and e1000e has it");
    expect(code).toBe(0);
  });

  it("refuses what is in use, in one line", async () => {
    const link = { name: "eth0", operstate: "up" };
    const { code, stderr } = await on([{ ...NETWORK, link }], "bind", NETWORK.address);
    expect([code, stderr]).toEqual([
      1,
      "error: EBUSY: 0000:01:00.1: it is in use: the network link eth0 is up. --force does it all the same\n",
    ]);
  });

  it("has nothing to do where vfio-pci has it", async () => {
    const { code, stdout } = await on([GIVEN], "bind", GIVEN.address);
    expect([code, stdout]).toEqual([0, "0000:02:00.0: vfio-pci has it already\n"]);
  });
});

it("vfiokit unbind takes nothing from other drivers", async () => {
  const { code, stderr } = await on([NVME], "unbind", NVME.address);
  expect([code, stderr]).toEqual([
    1,
    "error: EINVAL: 0000:01:00.0: nvme has it, which is no driver of VFIO's\n",
  ]);
});

describe("an address that is none is wrong usage, in one line:", () => {
  it.each([
    [["info", "vfio:nvme0"], "error: vfio:nvme0: a device is vfio:0000:01:00.0"],
    [["save", "mdev:1", "-"], "error: mdev:1: mdev: is followed by a UUID"],
    [["restore", "-", "vfio:"], "error: vfio:: a device is"],
    [["reset", "vfio:0000:01:00.8"], "error: vfio:0000:01:00.8: a device is"],
    [["bind", "1:2"], "error: 1:2: a PCI function is DOMAIN:BUS:DEVICE.FUNCTION"],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await Vfiokit.run(...args);
    expect(stderr).toContain(message);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect([code, stdout]).toEqual([2, ""]);
  });
});

it.each(["info", "reset", "save", "restore"])(
  "vfiokit %s says in one line that a device is not there",
  async (name) => {
    const device = "vfio:ffff:ff:1f.7";
    const args = { info: [device], reset: [device], save: [device, "-"], restore: ["/dev/null", device] }[
      name
    ]!;
    const { code, stderr } = await Vfiokit.run(name, ...args);
    expect([code, stderr]).toEqual([
      1,
      `error: ENODEV: ${device}: there is no such PCI function (/sys/bus/pci/devices/ffff:ff:1f.7)\n`,
    ]);
  },
);
