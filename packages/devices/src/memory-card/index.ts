export { memoryCard, type MemoryCardOptions } from "./card.js";
export { MemoryCard } from "./memory-card.js";
export * as memoryCardRegisters from "./registers.js";
