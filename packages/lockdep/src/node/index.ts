/// <reference types="node" />
export {
  ambientTask,
  currentTask,
  runTask,
  useSourceMaps,
  withTask,
  type RunTaskOptions,
} from "./run-task.js";
export { traced } from "./traced.js";
