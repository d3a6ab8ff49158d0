/** Sub-regions that are reached by descriptors: VFIO_USER_DEVICE_GET_REGION_IO_FDS. */

import { WireError } from "../layout/errors.js";
import { choice, flags, u32, u64 } from "../layout/field.js";
import { struct, type FixedValues, type StructValue, type Tail } from "../layout/struct.js";

/** IOEVENTFD_SHADOW is libvfio-user's. */
export const IoFdType = { IOEVENTFD: 0, IOREGIONFD: 1, IOEVENTFD_SHADOW: 2 } as const;

/** Flags of an ioeventfd are KVM's (KVM_IOEVENTFD_FLAG_*). */
export const IoEventFdFlags = { DATAMATCH: 1 << 0, PIO: 1 << 1, VIRTIO_CCW_NOTIFY: 1 << 3 } as const;

const common = { offset: u64, size: u64, fd_index: u32, type: choice(u32, IoFdType) };

/** As the specification has it; `datamatch` is `user_data` in an ioregionfd. */
export const SubRegion = struct("vfio_user_sub_region", {
  ...common,
  flags: flags(u32, IoEventFdFlags),
  padding: u32,
  datamatch: u64,
});
export type SubRegion = StructValue<typeof SubRegion>;

/** As libvfio-user has it, for every type: 8 bytes longer. */
export const ShadowSubRegion = struct("vfio_user_sub_region_ioeventfd", {
  ...common,
  flags: flags(u32, IoEventFdFlags),
  shadow_mem_fd_index: u32,
  shadow_offset: u64,
  datamatch: u64,
});
export type ShadowSubRegion = StructValue<typeof ShadowSubRegion>;

/** vfio-user: an element's size is what argsz and count make it; it tells the layouts apart. */
function layoutOf(at: number, fixed: FixedValues): typeof SubRegion | typeof ShadowSubRegion {
  const argsz = fixed["argsz"] as number;
  const count = fixed["count"] as number;
  const stride = (argsz - at) / count;
  const layout = [SubRegion, ShadowSubRegion].find(({ size }) => size === stride);
  if (!layout) {
    const rule = `${at} bytes and ${count} sub-regions of ${SubRegion.size} (or ${ShadowSubRegion.size})`;
    throw new WireError(".argsz", String(argsz), rule);
  }
  return layout;
}

/** Empty, though count is not, where the request's argsz had no room: argsz says how much is needed. */
export const subRegions: Tail<readonly (SubRegion | ShadowSubRegion)[]> = {
  tail: true,
  length: (value) =>
    value.reduce((total, one) => total + ("padding" in one ? SubRegion.size : ShadowSubRegion.size), 0),

  read(payload, at, fixed) {
    const count = fixed["count"] as number;
    if (count === 0) return [];
    const layout = layoutOf(at, fixed);
    // Fewer than count: what the request had room for.
    const held = Math.min(count, Math.floor((payload.length - at) / layout.size));
    return Array.from({ length: held }, (_, index) =>
      layout.decode(payload.subarray(at + index * layout.size)),
    );
  },

  write(payload, at, value, fixed) {
    if (value.length > (fixed["count"] as number)) {
      throw new WireError(".count", String(fixed["count"]), `there are ${value.length} sub-regions`);
    }
    if (value.length === 0) return;
    const layout = layoutOf(at, fixed);
    value.forEach((one, index) => {
      if (("padding" in one ? SubRegion : ShadowSubRegion) !== layout) {
        throw new WireError(".sub_regions", layout.name, "all have the layout that argsz stands for");
      }
      const into = payload.subarray(at + index * layout.size, at + (index + 1) * layout.size);
      if ("padding" in one) SubRegion.write(one, into);
      else ShadowSubRegion.write(one, into);
    });
  },

  describe: (value) =>
    value.map((one, index) => ({
      name: `[${index}]`,
      text: "",
      fields: "padding" in one ? SubRegion.describe(one) : ShadowSubRegion.describe(one),
    })),
};
