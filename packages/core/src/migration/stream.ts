/** The migration stream: docs/migration-stream.md. */
export {
  describeIdentity,
  StreamError,
  STREAM_ID_SIZE,
  type DeviceIdentity,
  type StreamBegin,
  type StreamRule,
} from "./stream-format.js";
export type { SectionProgress } from "./stream-image.js";
export {
  describeStream,
  StreamInspector,
  type StreamDescription,
  type StreamProblem,
} from "./stream-inspector.js";
export type { StreamOrigin } from "./record-writer.js";
export { StreamReader, type StreamReaderOptions } from "./stream-reader.js";
export { StreamWriter } from "./stream-writer.js";
