export { memoryCard, type MemoryCardOptions } from "./card.js";
export { MemoryCard } from "./memory-card.js";
/** Registers and bits of the memory card, as its data sheet in the README names them. */
export * as memoryCardRegisters from "./registers.js";
