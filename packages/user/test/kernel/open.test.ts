import { describe, expect, it } from "vitest";
import { isKernelAddress, openKernelDevice, parseKernelAddress, parsePciAddress } from "@vfiokit/user/kernel";
import { openFds } from "@vfiokit/user/linux";
import { FakeSysfs, type FakeFunction } from "./fake-sysfs.js";

const ADDRESS = "0000:01:00.0";
const UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

describe("an address", () => {
  it.each([
    [`vfio:${ADDRESS}`, { kind: "pci", name: ADDRESS }],
    ["vfio:0000:AF:1F.7", { kind: "pci", name: "0000:af:1f.7" }],
    [`mdev:${UUID}`, { kind: "mdev", name: UUID }],
    ["vfio:/dev/vfio/devices/vfio0", { kind: "cdev", node: "/dev/vfio/devices/vfio0" }],
    [`vfio:/dev/vfio/12:${ADDRESS}`, { kind: "group", node: "/dev/vfio/12", name: ADDRESS }],
    [`vfio:/dev/vfio/12:${UUID}`, { kind: "group", node: "/dev/vfio/12", name: UUID }],
  ])("%s", (text, address) => {
    expect(isKernelAddress(text)).toBe(true);
    expect(parseKernelAddress(text)).toEqual(address);
  });

  it.each(["vfio:", "vfio:nvme0", "vfio:0000:01:20.0", "vfio:0000:01:00.8", "mdev:12", `mdev:${ADDRESS}`])(
    "is not %s",
    (text) => expect(() => parseKernelAddress(text)).toThrow(/^EINVAL: .*(vfio:0000:01:00\.0|UUID)/),
  );

  it("is no socket's path", () => {
    for (const path of ["/tmp/card.sock", "card.sock", "./vfio:0000:01:00.0"])
      expect(isKernelAddress(path)).toBe(false);
  });

  it("of a PCI function has a domain, or is in domain 0", () => {
    expect([ADDRESS, "01:00.0", `vfio:${ADDRESS}`].map(parsePciAddress)).toEqual([ADDRESS, ADDRESS, ADDRESS]);
    expect(() => parsePciAddress("1:0")).toThrow("EINVAL: 1:0: a PCI function is");
  });
});

describe("a device that cannot be opened says why, and leaves no descriptor open:", () => {
  function refused(
    functions: readonly FakeFunction[],
    address = `vfio:${ADDRESS}`,
    files: string[] = [],
  ): string {
    using fake = new FakeSysfs(functions);
    for (const file of files) fake.write(file, "");
    const before = openFds();
    try {
      openKernelDevice(address, { sysfs: fake.sys, dev: fake.dev });
    } catch (error) {
      expect(openFds()).toBe(before);
      return (error as Error).message.replaceAll(fake.root, "");
    }
    throw new Error("it was opened");
  }
  const ready = { address: ADDRESS, driver: "vfio-pci", group: "12", vfio: "vfio0" };

  it("no such function", () => {
    expect(refused([])).toBe(
      `ENODEV: vfio:${ADDRESS}: there is no such PCI function (/sys/bus/pci/devices/${ADDRESS})`,
    );
  });

  it("another driver has it", () => {
    expect(refused([{ ...ready, driver: "nvme", vfio: undefined as never }])).toBe(
      `ENODEV: vfio:${ADDRESS}: it is bound to nvme, not to vfio-pci: vfiokit bind ${ADDRESS}`,
    );
  });

  it("no driver has it", () => {
    expect(refused([{ address: ADDRESS, group: "12" }])).toBe(
      `ENODEV: vfio:${ADDRESS}: no driver has it: vfiokit bind ${ADDRESS}`,
    );
  });

  it("no IOMMU", () => {
    expect(refused([{ address: ADDRESS, driver: "vfio-pci", vfio: "vfio0" }])).toMatch(
      /^ENODEV: .*in no IOMMU group: the IOMMU is off \(intel_iommu=on/,
    );
  });

  it("no container", () => {
    expect(refused([ready])).toBe(
      `ENOENT: vfio:${ADDRESS}: open(/dev/vfio/vfio): ENOENT: the kernel's VFIO is not loaded: modprobe vfio`,
    );
  });

  it("no iommufd for a device's own node", () => {
    const files = ["dev/vfio/devices/vfio0"];
    using fake = new FakeSysfs([ready]);
    for (const file of files) fake.write(file, "");
    const address = `vfio:${fake.dev}/vfio/devices/vfio0`;
    expect(() => openKernelDevice(address, { sysfs: fake.sys, dev: fake.dev })).toThrow(
      /ENOENT: .*\/iommu\): ENOENT: the kernel has no iommufd \(CONFIG_IOMMUFD\)/,
    );
  });

  it("no mediated device", () => {
    expect(refused([], `mdev:${UUID}`)).toMatch(
      /^ENODEV: mdev:.* no such mediated device .*mdev_supported_types/,
    );
  });

  it("a file that is no VFIO: the ioctl's name and its errno", () => {
    expect(refused([ready], `vfio:${ADDRESS}`, ["dev/vfio/vfio", "dev/vfio/12"])).toBe(
      `ENOTTY: vfio:${ADDRESS}: VFIO_GET_API_VERSION: the kernel answered ENOTTY`,
    );
  });
});
