import { VfioError } from "../../errno.js";
import type { FieldWriter } from "../layout.js";
import { PciCapId } from "../registers.js";

const HEADER = 3;

/** Bytes that only the vendor's software understands. */
export interface VendorSpecificCapability {
  readonly kind: "vendorSpecific";
  readonly id: typeof PciCapId.VNDR;
  readonly size: number;
  readonly contents: Uint8Array;
  readonly writable: Uint8Array;
}

/**
 * Vendor-specific capability: `contents` follow the length byte; `writable` has the bits of it that software can
 * write (none by default). A function may have several.
 * @throws VfioError EINVAL for contents that do not fit, or a mask of another length
 */
export function vendorSpecific(options: {
  contents: Uint8Array;
  writable?: Uint8Array;
}): VendorSpecificCapability {
  const { contents, writable = new Uint8Array(contents.length) } = options;
  const size = HEADER + contents.length;
  if (size > 0xff || writable.length !== contents.length) {
    throw new VfioError(
      "EINVAL",
      `vendor-specific capability: ${contents.length} bytes, mask of ${writable.length}; up to ${0xff - HEADER} of both`,
    );
  }
  return { kind: "vendorSpecific", id: PciCapId.VNDR, size, contents, writable };
}

export function writeVendorSpecific(fields: FieldWriter, cap: VendorSpecificCapability): void {
  fields.u8(2, cap.size);
  cap.contents.forEach((value, i) => fields.u8(HEADER + i, value, { rw: cap.writable[i]! }));
}
