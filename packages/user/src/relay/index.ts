/** Between a vfio-user client that cannot migrate and its server: docs/relay.md. */

export type { RemoteMoveOptions } from "./control-protocol.js";
export type { MoveOptions, MoveResult } from "./move.js";
export type { OnLoss } from "./recovery.js";
export { Relay, type RelayOptions, type RelayStatus } from "./relay.js";
export { RelayClient } from "./relay-client.js";
export { RelayControl } from "./relay-control.js";
