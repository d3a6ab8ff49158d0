import { Errno, errnoName, VfioError, type ErrnoName } from "@vfiokit/core";

/** The peer refused a command. `errno` is the peer's own, also where it has no name here (`code` is EIO then). */
export class ReplyError extends VfioError {
  override readonly errno: number;

  constructor(
    /** "DMA_MAP". */
    readonly command: string,
    errno: number,
    /** Who has answered. */
    peer = "the server",
    /** Why, where it can be told. */
    reason?: string,
  ) {
    const name = errnoName(errno);
    super(
      name in Errno ? (name as ErrnoName) : "EIO",
      `${command}: ${peer} answered ${errno ? name : "an error"}${reason === undefined ? "" : `: ${reason}`}`,
    );
    this.errno = errno || Errno.EIO;
  }
}

/** The server broke the protocol. */
export function protocolError(what: string): VfioError {
  return new VfioError("EPROTO", what);
}

/** Whatever was thrown, as a VfioError. */
export function asVfioError(error: unknown): VfioError {
  if (error instanceof VfioError) return error;
  const { code, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { code: "", message: String(error) };
  return new VfioError(code !== undefined && code in Errno ? (code as ErrnoName) : "EIO", message);
}
