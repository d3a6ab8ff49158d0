export { counterCard, type CounterCardOptions, type Scratch } from "./card.js";
export * as counterRegisters from "./registers.js";
