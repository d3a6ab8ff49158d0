/** The vfio-user protocol: every message as data. No Node API: runs in a browser too. */

export {
  capabilityDefaults,
  type Capabilities,
  type Json,
  type MigrationCapability,
  type TwinSocket,
  type VersionData,
} from "./capabilities.js";
export { describeMessage, formatDescription, refusalText, type Description } from "./describe.js";
export { WireError } from "../layout/errors.js";
export {
  bitmapSize,
  DeviceFeature,
  DmaLoggingRange,
  Feature,
  FEATURE_MASK,
  featureData,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReport,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigDataSize,
  FeatureMigration,
  FeatureMigState,
  FeaturePrecopyInfo,
  PrecopyInfoFlags,
} from "./features.js";
export { type Field } from "../layout/field.js";
export {
  Command,
  commandName,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  messageSize,
  messageType,
  Type,
  TYPE_MASK,
  type CommandName,
} from "./header.js";
export { IoEventFdFlags, IoFdType, ShadowSubRegion, SubRegion } from "./io-fds.js";
export {
  decodeMessage,
  encodedSize,
  encodeError,
  encodeMessage,
  encodeReply,
  encodeRequest,
  messages,
  writeMessage,
  type Direction,
  type ErrorReply,
  type Message,
  type Reply,
  type ReplyPayload,
  type Request,
  type RequestPayload,
} from "./message.js";
export { readU64AsNumber, writeU64FromNumber } from "./number.js";
export {
  CapHeader,
  RegionCapId,
  SparseMmapArea,
  SparseMmapCap,
  TypeCap,
  type RegionCapability,
} from "./region-caps.js";
export {
  Struct,
  struct,
  type DescribedField,
  type Fields,
  type StructValue,
  type Tail,
} from "../layout/struct.js";
export {
  DeviceInfo,
  DmaAccess,
  DmaData,
  DmaMap,
  DmaMapFlags,
  DmaUnmap,
  DmaUnmapFlags,
  DmaWritten,
  IRQ_SET_ACTION_MASK,
  IRQ_SET_DATA_MASK,
  IrqInfo,
  IrqSet,
  IrqSetFlags,
  MigrationData,
  MigrationDataRequest,
  RegionAccess,
  RegionData,
  RegionInfo,
  RegionInfoRequest,
  RegionIoFds,
  RegionIoFdsRequest,
  RegionWriteMulti,
  RegionWriteMultiReply,
  SingleWrite,
  Version,
} from "./structs.js";
