export { parseKernelLog } from "./parse.js";
export { explainSplat, splatGraph } from "./words.js";
export type { InconsistentState, Splat, SplatProblem } from "./splat.js";
