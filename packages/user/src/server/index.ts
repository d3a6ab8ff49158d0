export type { Log, LogLevel, ServerOptions } from "./options.js";
export { VfioUserServer } from "./vfio-user-server.js";
