/** Control sockets: JSON in lines (docs/administration.md, docs/relay.md). */
export { checked, count } from "./checked.js";
export { ControlClient, type ControlCallOptions } from "./control-client.js";
export { ControlServer, type ControlPeer } from "./control-server.js";
export { asObject, MAX_REPLY, parseObject, show, type ControlFailure, type JsonObject } from "./json.js";
export type { LineSocket } from "./line-socket.js";
export { controlPath, controlSocketOf, findControlSocket } from "./path.js";
