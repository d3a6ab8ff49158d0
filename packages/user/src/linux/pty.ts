import { openSync } from "node:fs";
import { constants } from "node:fs";
import { Fd } from "./fd.js";
import { check, libc, SyscallError } from "./libc.js";

const O_CLOEXEC = 0o2000000;
const TCSANOW = 0;
/** Larger than struct termios of any C library. */
const TERMIOS_BYTES = 256;
const NAME_BYTES = 128;

/** A pseudo-terminal. */
export interface Pty extends Disposable {
  /** Our end: non-blocking. */
  readonly master: Fd;
  /** What a user opens: "/dev/pts/3". */
  readonly path: string;
}

/**
 * A new pseudo-terminal in raw mode: every byte passes unchanged, none is echoed.
 *
 * Its other end is kept open here too, since reading a pty that nobody has open is EIO, and polling it never
 * sleeps. So bytes written while nobody listens wait in the terminal, and then in the writer.
 */
export function openPty(): Pty {
  const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK | O_CLOEXEC;
  const master = new Fd(check(libc.posixOpenpt(flags), "posix_openpt"));
  try {
    check(libc.grantpt(master.number), "grantpt");
    check(libc.unlockpt(master.number), "unlockpt");
    const name = new Uint8Array(NAME_BYTES);
    const error = libc.ptsname(master.number, name, name.length);
    if (error !== 0) throw new SyscallError("ptsname_r", error);
    const path = new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
    const other = new Fd(openSync(path, constants.O_RDWR | constants.O_NOCTTY | O_CLOEXEC));
    try {
      makeRaw(other);
    } catch (failure) {
      other.close();
      throw failure;
    }
    return {
      master,
      path,
      [Symbol.dispose]() {
        other.close();
        master.close();
      },
    };
  } catch (failure) {
    master.close();
    throw failure;
  }
}

/** Puts a terminal into raw mode (cfmakeraw(3)). */
export function makeRaw(fd: Fd): void {
  const termios = new Uint8Array(TERMIOS_BYTES);
  check(libc.tcgetattr(fd.number, termios), "tcgetattr");
  libc.cfmakeraw(termios);
  check(libc.tcsetattr(fd.number, TCSANOW, termios), "tcsetattr");
}
