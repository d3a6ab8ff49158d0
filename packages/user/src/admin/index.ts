export { AdminClient } from "./admin-client.js";
export { AdminServer, type AdminServerOptions } from "./admin-server.js";
export { DeviceAdmin, type ServingDevice } from "./device-admin.js";
export { keptAway } from "./hand-over-text.js";
export type {
  AdminCommand,
  AdminFailure,
  AdminReply,
  AdminRequest,
  AdminResults,
  DeviceStatus,
  FunctionStatus,
  HandOverReport,
  HandOverRequest,
  HandOverStep,
  MigrationStatus,
} from "./protocol.js";
export { handOverSteps } from "./protocol.js";
export type { LockReport, TaskReport, WaitReport } from "./tasks.js";
