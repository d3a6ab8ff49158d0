export { counterCard, type CounterCardOptions } from "./card.js";
export * as counterRegisters from "./registers.js";
