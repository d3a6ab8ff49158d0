/** Linux errno values that the VFIO uAPI, vfio-user and this core answer with. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ENOSPC: 28,
  EPIPE: 32,
  ERANGE: 34,
  ENOSYS: 38,
  ENOMSG: 42,
  EPROTO: 71,
  EOVERFLOW: 75,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECANCELED: 125,
} as const;

export type ErrnoName = keyof typeof Errno;

const names = new Map<number, string>(Object.entries(Errno).map(([name, value]) => [value, name]));

/** "EINVAL" for 22; "errno 200" for a number without a name here. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/** A request that the device, the core or the peer refused. The message names the field, the value and the rule. */
export class VfioError extends Error {
  override readonly name = "VfioError";
  readonly errno: number;

  constructor(
    readonly code: ErrnoName,
    message: string,
  ) {
    super(`${code}: ${message}`);
    this.errno = Errno[code];
  }
}

/** The errno that a thrown value stands for: its own, or EIO for anything unexpected. */
export function errnoOf(error: unknown): number {
  return error instanceof VfioError ? error.errno : Errno.EIO;
}
