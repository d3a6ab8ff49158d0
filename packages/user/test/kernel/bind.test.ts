import { describe, expect, it } from "vitest";
import { bindFunction, Sysfs, unbindFunction } from "@vfiokit/user/kernel";
import { FakeSysfs, type FakeFunction } from "./fake-sysfs.js";

const ADDRESS = "0000:01:00.0";
const nvme = { address: ADDRESS, driver: "nvme", group: "12" };

function bind(functions: readonly FakeFunction[], options: { force?: boolean; driver?: string } = {}) {
  using fake = new FakeSysfs(functions);
  return bindFunction(ADDRESS, { sysfs: new Sysfs(fake.sys), proc: fake.proc, dryRun: true, ...options });
}

describe("a function that is to be given to vfio-pci", () => {
  it("is told the driver first, then taken from the old one, then probed", () => {
    const { from, to, steps } = bind([nvme]);
    expect([from, to]).toEqual(["nvme", "vfio-pci"]);
    const names = steps.map(({ file, value }) => [file.slice(file.indexOf("/bus/")), value]);
    expect(names).toEqual([
      [`/bus/pci/devices/${ADDRESS}/driver_override`, "vfio-pci"],
      [`/bus/pci/devices/${ADDRESS}/driver/unbind`, ADDRESS],
      ["/bus/pci/drivers_probe", ADDRESS],
    ]);
  });

  it("is left as it is by --dry-run", () => {
    using fake = new FakeSysfs([nvme]);
    bindFunction(ADDRESS, { sysfs: new Sysfs(fake.sys), proc: fake.proc, dryRun: true });
    expect(fake.read(`sys/bus/pci/devices/${ADDRESS}/driver_override`)).toBe("(null)\n");
    expect(fake.read("sys/bus/pci/drivers_probe")).toBe("");
  });

  it("needs nothing done when vfio-pci has it", () => {
    expect(bind([{ ...nvme, driver: "vfio-pci", vfio: "vfio0" }]).steps).toEqual([]);
  });

  it("is written to, and an error when the driver does not take it", () => {
    using fake = new FakeSysfs([nvme]);
    const act = () => bindFunction(ADDRESS, { sysfs: new Sysfs(fake.sys), proc: fake.proc });
    // The tree is no kernel: nothing changes hands.
    expect(act).toThrow(`EIO: ${ADDRESS}: vfio-pci did not take it, nvme has it: see dmesg`);
    expect(fake.read(`sys/bus/pci/devices/${ADDRESS}/driver_override`)).toBe("vfio-pci\n");
    expect(fake.read("sys/bus/pci/drivers/nvme/unbind")).toBe(`${ADDRESS}\n`);
    expect(fake.read("sys/bus/pci/drivers_probe")).toBe(`${ADDRESS}\n`);
  });

  it("names the others of its group that other drivers have", () => {
    const other = { address: "0000:01:00.1", driver: "e1000e", group: "12" };
    const mine = { address: "0000:01:00.2", driver: "vfio-pci", group: "12", vfio: "vfio1" };
    expect(bind([nvme, other, mine]).others.map(({ address }) => address)).toEqual(["0000:01:00.1"]);
  });
});

describe("a function that is not to be given away", () => {
  const refused =
    (fn: FakeFunction, options = {}) =>
    () =>
      bind([fn], options);
  const disk = { name: "nvme0n1", dev: "259:0" };

  it("does not exist", () => {
    expect(refused({ ...nvme, address: "0000:02:00.0" })).toThrow(
      `ENODEV: ${ADDRESS}: there is no such PCI function`,
    );
  });

  it("has no IOMMU", () => {
    expect(refused({ address: ADDRESS, driver: "nvme" })).toThrow(
      /ENODEV: .* in no IOMMU group: .*intel_iommu=on/,
    );
  });

  it("is a bridge", () => {
    expect(refused({ ...nvme, classCode: 0x060400 })).toThrow(/EINVAL: .* a bridge/);
  });

  it("is for a driver that the kernel does not have", () => {
    expect(refused(nvme, { driver: "mlx5-vfio-pci" })).toThrow(
      "no driver mlx5-vfio-pci: modprobe mlx5-vfio-pci",
    );
  });

  it("has a network link that is up; one that is down does not matter", () => {
    const link = { name: "eth0", operstate: "up" };
    expect(refused({ ...nvme, link })).toThrow(
      `EBUSY: ${ADDRESS}: it is in use: the network link eth0 is up`,
    );
    expect(bind([{ ...nvme, link: { ...link, operstate: "down" } }]).steps).toHaveLength(3);
    expect(bind([{ ...nvme, link }], { force: true }).steps).toHaveLength(3);
  });

  it.each([
    ["proc/self/mountinfo", "22 1 259:0 / /srv rw - ext4 /dev/nvme0n1 rw\n", "nvme0n1 is mounted at /srv"],
    // btrfs has numbers of its own.
    ["proc/self/mountinfo", "22 1 0:31 / / rw shared:1 - btrfs /dev/nvme0n1 rw\n", "nvme0n1 is mounted at /"],
    ["proc/swaps", "Filename\tType\n/dev/nvme0n1 partition 8388604 0 -2\n", "nvme0n1 is swapped to"],
    ["sys/class/block/nvme0n1/holders/dm-0", "", "dm-0 is made of nvme0n1"],
  ])("has a disk in use: %s", (file, text, reason) => {
    using fake = new FakeSysfs([{ ...nvme, disk }]);
    const options = { sysfs: new Sysfs(fake.sys), proc: fake.proc, dryRun: true };
    expect(bindFunction(ADDRESS, options).steps).toHaveLength(3);
    fake.write(file, text);
    expect(() => bindFunction(ADDRESS, options)).toThrow(
      `EBUSY: ${ADDRESS}: it is in use: ${reason}. --force`,
    );
    expect(bindFunction(ADDRESS, { ...options, force: true }).steps).toHaveLength(3);
  });
});

describe("a function that vfio-pci gives back", () => {
  const back = (fn: FakeFunction) => {
    using fake = new FakeSysfs([fn]);
    return unbindFunction(ADDRESS, { sysfs: new Sysfs(fake.sys), dryRun: true });
  };

  it("forgets the driver that it was told, and is probed by the others", () => {
    const { steps } = back({ ...nvme, driver: "vfio-pci", vfio: "vfio0" });
    expect(steps.map(({ value }) => value)).toEqual(["", ADDRESS, ADDRESS]);
  });

  it("is not somebody else's", () => {
    expect(() => back(nvme)).toThrow(`EINVAL: ${ADDRESS}: nvme has it, which is no driver of VFIO's`);
  });
});
