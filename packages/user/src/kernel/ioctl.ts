import { libc, errno, type Pointer } from "../linux/libc.js";
import type { Fd } from "../linux/index.js";
import { ReplyError } from "../socket/index.js";
import { Ioctl, type IoctlName } from "./uapi.js";

/** Why a call fails, by the name of its errno, in words that a person can act on. */
export type Reasons = Readonly<Record<string, string | (() => string)>>;

/**
 * One ioctl. What it answers is in `argument` afterwards; its result, a number that is not negative, is returned.
 * @throws ReplyError with the ioctl's name, the errno and the reason
 */
export function ioctl(fd: Fd, name: IoctlName, argument: Pointer, reasons: Reasons = {}): number {
  const result = libc.ioctl(fd.number, Ioctl[name], argument);
  if (result < 0) throw kernelError(name, errno(), reasons);
  return result;
}

/** What the kernel answered to a call, with the reason if there is one. */
export function kernelError(call: string, error: number, reasons: Reasons = {}): ReplyError {
  const plain = new ReplyError(call, error, "the kernel");
  const reason = reasons[plain.code];
  if (reason === undefined) return plain;
  return new ReplyError(call, error, "the kernel", typeof reason === "string" ? reason : reason());
}
