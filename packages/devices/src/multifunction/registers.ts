/** The counter's registers in BAR 0, of 32 bits each. */

/** rw */
export const CONTROL = 0x00;
/** It counts. */
export const CONTROL_ENABLE = 1 << 0;
/** It interrupts while STATUS has MATCH. */
export const CONTROL_INTERRUPT = 1 << 1;
export const CONTROL_MASK = CONTROL_ENABLE | CONTROL_INTERRUPT;

/** rw, 16 bits: milliseconds from one count to the next; 0 is 1. Writing it starts a new one. */
export const PERIOD = 0x04;
export const PERIOD_MASK = 0xffff;
export const PERIOD_POWER_ON = 1000;

/** rw: wraps at 2^32. */
export const COUNT = 0x08;

/** rw: counting to this value is a match. */
export const COMPARE = 0x0c;

/** rw1c */
export const STATUS = 0x10;
export const STATUS_MATCH = 1 << 0;
/** The last match could not write to memory. */
export const STATUS_DMA_ERROR = 1 << 1;
export const STATUS_MASK = STATUS_MATCH | STATUS_DMA_ERROR;

/** rw: where a match writes COUNT in the client's memory (little-endian); 0: nowhere. */
export const ADDRESS_LOW = 0x14;
export const ADDRESS_HIGH = 0x18;
