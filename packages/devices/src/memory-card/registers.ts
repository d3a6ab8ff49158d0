/** The memory card's registers in BAR 0, of 32 bits each. */

/** ro: size of the memory in pages of 4 KiB. */
export const SIZE = 0x00;

/** rw: where DATA is in the memory, in bytes; a multiple of 4. */
export const ADDRESS = 0x04;
/** rw: the four bytes at ADDRESS, which then moves 4 on. Outside the memory: reads 0, drops writes. */
export const DATA = 0x08;

/** rw: what FILL fills: the first page, and how many. */
export const PAGE = 0x0c;
export const COUNT = 0x10;
/** rw: what FILL fills them with. The same seed gives the same page the same content. */
export const SEED = 0x14;

/** wo: a write does it. A large one goes on after the write, while STATUS has BUSY. */
export const COMMAND = 0x18;
/** Fills the pages. */
export const COMMAND_FILL = 1;
/** Compares the memory with SUM, all of it. */
export const COMMAND_VERIFY = 2;

/** ro: how the last command ended. */
export const STATUS = 0x1c;
/** VERIFY: the memory does not hold what was written to it. */
export const STATUS_MISMATCH = 1 << 0;
/** There is no such command, or FILL goes beyond the memory, or another command is not done yet. */
export const STATUS_INVALID = 1 << 1;
/** The command is not done yet. */
export const STATUS_BUSY = 1 << 2;
export const STATUS_MASK = STATUS_MISMATCH | STATUS_INVALID | STATUS_BUSY;

/** ro: a sum over the memory, kept up to date by every write. */
export const SUM = 0x20;

/** rw: bytes a second that the card writes by itself, round and round the memory; 0: none. */
export const RATE = 0x24;
/** ro: pages that it has written by itself; wraps at 2^32. */
export const WRITTEN = 0x28;
