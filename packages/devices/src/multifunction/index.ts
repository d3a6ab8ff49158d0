export { counterCard, type CounterCardOptions, type Scratch } from "./card.js";
/** Registers and bits of the counter card, as the table in the README names them. */
export * as counterRegisters from "./registers.js";
