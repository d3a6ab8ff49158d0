export { memoryCard, type MemoryCardOptions } from "./card.js";
export { MemoryCard, type MemoryCardClock } from "./memory-card.js";
export * as memoryCardRegisters from "./registers.js";
