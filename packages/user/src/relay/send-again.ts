import {
  Command,
  Feature,
  FEATURE_MASK,
  FeatureFlags,
  Header,
  HEADER_SIZE,
  IRQ_SET_DATA_MASK,
  IrqSet,
  IrqSetFlags,
  DeviceFeature,
} from "../wire/index.js";

/**
 * Whether a request that a server has and has not answered may be sent to the next one. The lost server may have carried
 * it out, or not; what that did to the device is lost with it, what it did to the world is not. So questions may, and
 * reads of regions: whatever a read takes out of a device, the client has not had it. And what sets up the client's side,
 * which the next server is told anyway. Not writes: a byte that a write has sent to the far end would be sent twice. And
 * no interrupt for a test.
 */
export function maySendAgain(message: Uint8Array): boolean {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const field = (at: number): number =>
    HEADER_SIZE + at + 4 <= message.length ? view.getUint32(HEADER_SIZE + at, true) : 0;
  switch (view.getUint16(Header.offset.cmd, true)) {
    case Command.DEVICE_GET_INFO:
    case Command.DEVICE_GET_REGION_INFO:
    case Command.DEVICE_GET_REGION_IO_FDS:
    case Command.DEVICE_GET_IRQ_INFO:
    case Command.DMA_MAP:
    case Command.DMA_UNMAP:
    case Command.DEVICE_RESET:
    case Command.REGION_READ:
      return true;
    case Command.DEVICE_SET_IRQS: {
      const flags = field(IrqSet.offset.flags);
      const fires = flags & IrqSetFlags.ACTION_TRIGGER && field(IrqSet.offset.count) > 0;
      return !fires || (flags & IRQ_SET_DATA_MASK) === IrqSetFlags.DATA_EVENTFD;
    }
    case Command.DEVICE_FEATURE: {
      const flags = field(DeviceFeature.offset.flags);
      const feature = flags & FEATURE_MASK;
      const logging = feature === Feature.DMA_LOGGING_START || feature === Feature.DMA_LOGGING_STOP;
      // A report clears what it reports.
      if (feature === Feature.DMA_LOGGING_REPORT) return false;
      return !(flags & FeatureFlags.SET) || logging;
    }
    default:
      return false;
  }
}
