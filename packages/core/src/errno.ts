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

/** What is wrong, as data. */
export interface VfioErrorData {
  /** "count" */
  readonly field: string;
  readonly value: unknown;
  /** What the value should have been. */
  readonly rule: string;
  /** All of it as text. Default: field, value and rule. */
  readonly detail?: string;
}

/** A request that the device, the core or the peer refused. The message names the field, the value and the rule. */
export class VfioError extends Error {
  override readonly name = "VfioError";
  readonly errno: number;
  /** The message without its code. */
  readonly detail: string;
  /** Where it is known: what is wrong, what it is, and what it should have been. */
  readonly field: string | undefined;
  readonly value: string | undefined;
  readonly rule: string | undefined;

  constructor(
    readonly code: ErrnoName,
    what: string | VfioErrorData,
  ) {
    const data = typeof what === "string" ? undefined : what;
    const detail =
      typeof what === "string" ? what : (what.detail ?? `${what.field} ${String(what.value)}: ${what.rule}`);
    super(`${code}: ${detail}`);
    this.errno = Errno[code];
    this.detail = detail;
    this.field = data?.field;
    this.value = data && String(data.value);
    this.rule = data?.rule;
  }

  /** The same error, told of what it happened to: a device's name, a path. */
  at(where: string): VfioError {
    const detail = `${where}: ${this.detail}`;
    const { field, value, rule } = this;
    const what = field === undefined ? detail : { field, value, rule: rule!, detail };
    const error = new VfioError(this.code, what);
    error.cause = this;
    return error;
  }
}

/** EINVAL: a value that breaks a rule. */
export function invalid(field: string, value: unknown, rule: string): VfioError {
  return new VfioError("EINVAL", { field, value, rule });
}

/** The errno that a thrown value stands for: its own, or EIO for anything unexpected. */
export function errnoOf(error: unknown): number {
  return error instanceof VfioError ? error.errno : Errno.EIO;
}
