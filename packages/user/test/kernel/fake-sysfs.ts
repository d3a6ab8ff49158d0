import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface FakeFunction {
  readonly address: string;
  readonly driver?: string;
  readonly group?: string;
  readonly classCode?: number;
  /** Its node below /dev/vfio/devices. */
  readonly vfio?: string;
  /** A disk of it, with its number. */
  readonly disk?: { readonly name: string; readonly dev: string };
  /** A network link of it, with its state. */
  readonly link?: { readonly name: string; readonly operstate: string };
}

/** A tree like that of sysfs, with proc and dev beside it. What a kernel would do about writes, it does not. */
export class FakeSysfs implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "vfiokit-sysfs-"));
  readonly sys = join(this.root, "sys");
  readonly proc = join(this.root, "proc");
  readonly dev = join(this.root, "dev");

  constructor(
    functions: readonly FakeFunction[],
    drivers: readonly string[] = ["vfio-pci", "nvme", "e1000e"],
  ) {
    for (const driver of drivers) mkdirSync(join(this.sys, "bus/pci/drivers", driver), { recursive: true });
    mkdirSync(join(this.proc, "self"), { recursive: true });
    mkdirSync(join(this.dev, "vfio"), { recursive: true });
    this.write("sys/bus/pci/drivers_probe", "");
    for (const one of functions) this.#add(one);
  }

  write(name: string, text: string): void {
    mkdirSync(dirname(join(this.root, name)), { recursive: true });
    writeFileSync(join(this.root, name), text);
  }

  read(name: string): string {
    return readFileSync(join(this.root, name), "utf8");
  }

  #add({ address, driver, group, classCode = 0x010802, vfio, disk, link }: FakeFunction): void {
    const folder = join(this.sys, "devices/pci0000:00", address);
    mkdirSync(folder, { recursive: true });
    const attribute = (name: string, text: string) => writeFileSync(join(folder, name), text);
    attribute("vendor", "0x1b36\n");
    attribute("device", "0x0010\n");
    attribute("class", `0x${classCode.toString(16).padStart(6, "0")}\n`);
    attribute("driver_override", "(null)\n");
    this.#link(folder, join(this.sys, "bus/pci/devices", address));
    if (driver !== undefined) this.#link(join(this.sys, "bus/pci/drivers", driver), join(folder, "driver"));
    if (vfio !== undefined) mkdirSync(join(folder, "vfio-dev", vfio), { recursive: true });
    if (group !== undefined) {
      const path = join(this.sys, "kernel/iommu_groups", group);
      mkdirSync(path, { recursive: true });
      this.#link(path, join(folder, "iommu_group"));
      this.#link(folder, join(path, "devices", address));
    }
    if (disk) {
      const path = join(folder, "nvme/nvme0", disk.name);
      mkdirSync(path, { recursive: true });
      writeFileSync(join(path, "dev"), `${disk.dev}\n`);
      this.#link(path, join(this.sys, "class/block", disk.name));
    }
    if (link) {
      const path = join(folder, "net", link.name);
      mkdirSync(path, { recursive: true });
      writeFileSync(join(path, "operstate"), `${link.operstate}\n`);
      this.#link(path, join(this.sys, "class/net", link.name));
    }
  }

  #link(target: string, path: string): void {
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(target, path);
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true });
  }
}
