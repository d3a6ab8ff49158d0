/** Writes a cpio archive in the "newc" format, the one that Linux unpacks as its initramfs. */

/** What an entry is: the upper bits of its mode, as in stat(2). */
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

const MAGIC = "070701";
const TRAILER = "TRAILER!!!";

/** Collects entries; parent directories are added as they are needed. All belong to root, with time zero. */
export class CpioWriter {
  private readonly chunks: Buffer[] = [];
  private readonly directories = new Set<string>();
  private inode = 0;

  directory(path: string): void {
    if (path === "" || this.directories.has(path)) return;
    this.directories.add(path);
    this.entry(path, S_IFDIR | 0o755, Buffer.alloc(0));
  }

  file(path: string, content: Uint8Array | string, permissions = 0o755): void {
    this.entry(path, S_IFREG | permissions, Buffer.from(content));
  }

  symlink(path: string, target: string): void {
    this.entry(path, S_IFLNK | 0o777, Buffer.from(target));
  }

  /** The whole archive. The writer can't be used afterwards. */
  finish(): Buffer {
    this.entry(TRAILER, 0, Buffer.alloc(0));
    return Buffer.concat(this.chunks);
  }

  private entry(path: string, mode: number, content: Buffer): void {
    const slash = path.lastIndexOf("/");
    if (slash > 0) this.directory(path.slice(0, slash));
    const name = Buffer.from(`${path}\0`);
    const fields = [
      path === TRAILER ? 0 : ++this.inode,
      mode,
      0, // uid
      0, // gid
      1, // nlink
      0, // mtime
      content.length,
      0, // devmajor
      0, // devminor
      0, // rdevmajor
      0, // rdevminor
      name.length,
      0, // check: unused in newc
    ];
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
    this.chunks.push(padded(Buffer.concat([Buffer.from(header), name])), padded(content));
  }
}

/** Header with name, and content, each end on a multiple of four. */
function padded(bytes: Buffer): Buffer {
  const rest = bytes.length % 4;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - rest)]);
}
