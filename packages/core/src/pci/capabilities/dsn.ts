import { VfioError } from "../../errno.js";
import type { FieldWriter } from "../layout.js";
import { PciDsn, PciExtCapId } from "../registers.js";

/** Device Serial Number: an EUI-64. */
export interface DsnCapability {
  readonly kind: "dsn";
  readonly extendedId: typeof PciExtCapId.DSN;
  readonly version: 1;
  readonly size: typeof PciDsn.SIZEOF;
  readonly serial: bigint;
}

/**
 * Device Serial Number extended capability; 0x0011223344556677n prints as 00-11-22-33-44-55-66-77.
 * @throws VfioError EINVAL for a number of more than 64 bits
 */
export function dsn(serial: bigint): DsnCapability {
  if (BigInt.asUintN(64, serial) !== serial) {
    throw new VfioError(
      "EINVAL",
      `device serial number: ${serial.toString()} is not an unsigned 64-bit number`,
    );
  }
  return { kind: "dsn", extendedId: PciExtCapId.DSN, version: 1, size: PciDsn.SIZEOF, serial };
}

export function writeDsn(fields: FieldWriter, cap: DsnCapability): void {
  fields.u32(PciDsn.LOWER, Number(cap.serial & 0xffffffffn));
  fields.u32(PciDsn.UPPER, Number(cap.serial >> 32n));
}
