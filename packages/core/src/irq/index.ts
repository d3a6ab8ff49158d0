export { IrqController, type IrqCounts, type IrqRegisters, type IrqSnapshot } from "./controller.js";
export type { IntxLine } from "./intx.js";
export type { MessageVectors } from "./messages.js";
export { irqName, type IrqAction, type IrqData, type SetIrqs } from "./set-irqs.js";
export type { IrqTrigger } from "./trigger.js";
