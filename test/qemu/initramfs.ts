import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { CpioWriter } from "./cpio.js";
import { guestProgram } from "./guest-program.js";
import { CACHE, type Lab } from "./lab.js";

/** Where a guest's kernel and its initramfs are, as QEMU in the chroot names them. */
export interface GuestImage {
  readonly kernel: string;
  readonly initramfs: string;
}

const INIT = fileURLToPath(new URL("guest/init", import.meta.url));
/** Programs of the chroot that busybox has no equal of. */
const PROGRAMS = ["/usr/bin/lspci", "/usr/bin/setpci"];

/** What a guest has beside busybox, lspci and our init. */
export interface GuestContent {
  /** Debian's full kernel instead of the one for clouds. */
  readonly fullKernel?: boolean;
  /** Kernel modules, which the guest loads with `modprobe`: they come with what they depend on. */
  readonly modules?: readonly string[];
  /** C programs of the folder guest, for its /bin. */
  readonly programs?: readonly string[];
  /** Static programs for its /bin, by their paths in the chroot. */
  readonly otherPrograms?: readonly string[];
  /** Further files: their paths in the guest, and on this machine. */
  readonly files?: ReadonlyMap<string, string>;
}

/**
 * Builds the guest's whole userland from files of the chroot, and what else it is to have.
 * Kept in the chroot under a hash of what goes in, so that only the first boot pays for it.
 */
export function guestImage(lab: Lab, content: GuestContent = {}): GuestImage {
  const { fullKernel = false, modules = [], programs = [], otherPrograms = [] } = content;
  const files = content.files ?? new Map<string, string>();
  const kernel = newestKernel(lab, fullKernel);
  const version = kernel.slice(kernel.indexOf("-") + 1);
  const moduleFiles = withDependencies(lab, version, modules);
  const compiled = new Map([
    ...programs.map((name) => [name, guestProgram(lab, name)] as const),
    ...otherPrograms.map((path) => [basename(path), path] as const),
  ]);
  const key = createHash("sha256");
  const inChroot = [
    "/usr/bin/busybox",
    ...PROGRAMS,
    ...moduleFiles.map(({ file }) => file),
    ...compiled.values(),
  ];
  for (const path of inChroot) key.update(path).update(readFileSync(lab.outside(path)));
  for (const [path, source] of files) key.update(path).update(readFileSync(source));
  key.update(readFileSync(INIT)).update(readFileSync(fileURLToPath(import.meta.url)));
  const initramfs = `${CACHE}/initramfs-${version}-${key.digest("hex").slice(0, 16)}.cpio`;
  if (!existsSync(lab.outside(initramfs))) {
    mkdirSync(lab.outside(CACHE), { recursive: true });
    // Two test files may build it at once: each writes its own and the last rename wins.
    const draft = `${lab.outside(initramfs)}.${process.pid}`;
    writeFileSync(draft, build(lab, version, moduleFiles, compiled, files));
    renameSync(draft, lab.outside(initramfs));
  }
  return { kernel: `/boot/${kernel}`, initramfs };
}

/** The version of the kernel that a guest gets. */
export function kernelVersion(lab: Lab, fullKernel: boolean): string {
  return newestKernel(lab, fullKernel).slice("vmlinuz-".length);
}

function newestKernel(lab: Lab, full: boolean): string {
  const kernels = readdirSync(lab.outside("/boot")).filter(
    (name) => name.startsWith("vmlinuz-") && name.includes("-cloud-") !== full,
  );
  const newest = kernels.sort(new Intl.Collator("en", { numeric: true }).compare).at(-1);
  if (newest === undefined) throw new Error(`${lab.root}/boot has no kernel`);
  return newest;
}

interface ModuleFile {
  /** Path in the chroot. */
  readonly file: string;
  /** Files that must be loaded first. */
  readonly needs: readonly string[];
}

/** The modules and, through modules.dep, all that they need. */
function withDependencies(lab: Lab, version: string, modules: readonly string[]): ModuleFile[] {
  if (modules.length === 0) return [];
  const folder = `/usr/lib/modules/${version}`;
  const table = new Map<string, ModuleFile>();
  for (const line of readFileSync(lab.outside(`${folder}/modules.dep`), "utf8").split("\n")) {
    const [path, needs] = line.split(":");
    if (path === undefined || needs === undefined) continue;
    const files = needs.split(" ").filter((need) => need !== "");
    table.set(moduleName(path), { file: `${folder}/${path}`, needs: files });
  }
  const found = new Map<string, ModuleFile>();
  const visit = (name: string): void => {
    const module = table.get(name);
    if (module === undefined) throw new Error(`the guest's kernel has no module ${name}`);
    found.set(name, module);
    for (const need of module.needs) if (!found.has(moduleName(need))) visit(moduleName(need));
  };
  modules.map(moduleName).forEach(visit);
  return [...found.values()];
}

/** "kernel/drivers/vfio/pci/vfio-pci.ko.xz" and "vfio_pci" name the same module. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, "")
    .replaceAll("-", "_");
}

function build(
  lab: Lab,
  version: string,
  modules: readonly ModuleFile[],
  programs: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, string>,
): Buffer {
  const cpio = new CpioWriter();
  for (const folder of ["proc", "sys", "dev", "tmp", "etc"]) cpio.directory(folder);
  cpio.file("init", readFileSync(INIT));
  cpio.file("bin/busybox", readFileSync(lab.outside("/usr/bin/busybox")));
  for (const applet of inChroot(lab, "busybox", "--list").trim().split("\n")) {
    if (applet !== "busybox") cpio.symlink(`bin/${applet}`, "busybox");
  }
  const libraries = new Set<string>();
  for (const program of PROGRAMS) {
    cpio.file(program.slice(1), readFileSync(lab.outside(program)));
    for (const [, library] of inChroot(lab, "ldd", program).matchAll(/(\/\S+) \(0x/g))
      libraries.add(library!);
  }
  for (const [name, path] of programs) cpio.file(`bin/${name}`, readFileSync(lab.outside(path)));
  for (const library of libraries) cpio.file(library.slice(1), readFileSync(lab.outside(library)));

  for (const [path, source] of files) cpio.file(path, readFileSync(source));

  const folder = `lib/modules/${version}`;
  // Uncompressed: the guest's modprobe need not know how Debian compresses its modules.
  const plain = (path: string): string => `${moduleName(path)}.ko`;
  for (const { file } of modules)
    cpio.file(`${folder}/${plain(file)}`, inChrootBytes(lab, "busybox", "xzcat", file));
  const dependencies = modules.map(({ file, needs }) => `${plain(file)}: ${needs.map(plain).join(" ")}\n`);
  cpio.file(`${folder}/modules.dep`, dependencies.join(""));
  return cpio.finish();
}

function inChroot(lab: Lab, ...command: string[]): string {
  return inChrootBytes(lab, ...command).toString();
}

function inChrootBytes(lab: Lab, ...command: string[]): Buffer {
  return execFileSync("chroot", [lab.root, ...command], { maxBuffer: 1 << 28 });
}
