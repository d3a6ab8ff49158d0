import type { SerialBackend } from "@vfiokit/devices";
import type { Logger } from "../log.js";

/** The far end of a serial line, named as QEMU names its character devices. */
export interface Chardev {
  readonly backend: SerialBackend;
  /** What to tell the user: "pty /dev/pts/3", with what to type to use it. */
  readonly description: string;
  /** For programs: where a `pty` or `unix` ended up. */
  readonly path: string | undefined;
  /** Standard output carries the guest's bytes: nothing else may be printed there. */
  readonly usesStdout: boolean;
}

/** One kind of chardev: "unix:PATH" is kind "unix" with argument "PATH". */
export interface ChardevKind {
  readonly name: string;
  /** For the help text: what follows the colon, if something does. */
  readonly argument?: string;
  readonly summary: string;
  open(argument: string, log: Logger): Chardev | Promise<Chardev>;
}
