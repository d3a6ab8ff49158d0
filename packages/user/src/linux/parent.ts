import { check, libc } from "./libc.js";

const PR_SET_PDEATHSIG = 1;

/**
 * Has the kernel send this process a signal when its parent has died (prctl(2), PR_SET_PDEATHSIG).
 * @returns false: it has died already, and no signal will come
 */
export function signalWhenParentDies(signal: number): boolean {
  const parent = process.ppid;
  check(libc.prctl(PR_SET_PDEATHSIG, signal), "prctl(PR_SET_PDEATHSIG)");
  return process.ppid === parent;
}
