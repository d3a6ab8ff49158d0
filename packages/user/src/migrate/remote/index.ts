/** Migration between hosts: docs/migration-remote.md. */
export { isDeviceName, isRemoteUrl, parseRemoteUrl, type RemoteAddress } from "./address.js";
export { localDevice, type ReceiverDevice, type TargetHandOver } from "./device.js";
export type { ReceiverEvent } from "./events.js";
export { Receiver, type ReceiverOptions } from "./receiver.js";
export { connectRemoteHandOver, type RemoteHandOver } from "./remote-hand-over.js";
export { connectRemoteTarget } from "./connect-target.js";
export type { RemoteTargetOptions } from "./target-options.js";
export { checkIdentity, type RemoteSecurity, type TlsIdentity } from "./security.js";
