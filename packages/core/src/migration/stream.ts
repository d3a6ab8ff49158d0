/** The migration stream: docs/migration-stream.md. */
export {
  describeIdentity,
  StreamError,
  STREAM_FORMAT,
  STREAM_ID_SIZE,
  type DeviceIdentity,
  type StreamRule,
} from "./stream-format.js";
export { StreamReader, type StreamLimits } from "./stream-reader.js";
export { StreamWriter, type StreamOrigin } from "./stream-writer.js";
