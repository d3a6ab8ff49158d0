export { VfioUserServer, type Log, type LogLevel, type ServerOptions } from "./server/index.js";
export * from "./client/index.js";
export * from "./admin/index.js";
export * from "./relay/index.js";
export * from "./migrate/index.js";
export * from "./migrate/remote/index.js";
export { controlPath, findControlSocket } from "./control/index.js";
export { Listener } from "./socket/index.js";
