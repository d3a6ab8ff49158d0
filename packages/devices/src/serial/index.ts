export { serialCard, type SerialCardOptions } from "./card.js";
export { loopbackBackend, nullBackend, type SerialBackend, type SerialWire } from "./backend.js";
export { Uart16550, type UartPins } from "./uart16550.js";
/** Registers and bits of a 16550A, as the PC16550D data sheet names them. */
export * as uartRegisters from "./registers.js";
