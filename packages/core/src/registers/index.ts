export {
  registers,
  ro,
  rw,
  rw1c,
  wo,
  type RegisterDeclaration,
  type RegisterHooks,
  type RegisterOptions,
  type Registers,
} from "./registers.js";
