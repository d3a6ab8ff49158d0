import type { FieldWriter } from "../layout.js";
import { writeAer, type AerCapability } from "./aer.js";
import { writeAf, type AfCapability } from "./af.js";
import { writeDsn, type DsnCapability } from "./dsn.js";
import { writeExpress, type ExpressCapability } from "./express.js";
import { writeMsi, type MsiCapability } from "./msi.js";
import { writeMsix, type MsixCapability } from "./msix.js";
import { writePm, type PmCapability } from "./pm.js";
import { writeVendorSpecific, type VendorSpecificCapability } from "./vendor-specific.js";

/** Capabilities in the first 256 bytes. */
export type StandardCapability =
  PmCapability | ExpressCapability | AfCapability | MsiCapability | MsixCapability | VendorSpecificCapability;
/** Capabilities from 0x100 on, for PCI Express functions. */
export type ExtendedCapability = AerCapability | DsnCapability;
/** A capability of either list: in the first 256 bytes, or above (PCI Express). */
export type CapabilityDeclaration = StandardCapability | ExtendedCapability;

/** Declares the fields of a capability, all but its header. */
export function writeCapability(fields: FieldWriter, cap: CapabilityDeclaration): void {
  switch (cap.kind) {
    case "pm":
      writePm(fields, cap);
      break;
    case "express":
      writeExpress(fields, cap);
      break;
    case "af":
      writeAf(fields, cap);
      break;
    case "msi":
      writeMsi(fields, cap);
      break;
    case "msix":
      writeMsix(fields, cap);
      break;
    case "vendorSpecific":
      writeVendorSpecific(fields, cap);
      break;
    case "aer":
      writeAer(fields);
      break;
    case "dsn":
      writeDsn(fields, cap);
      break;
  }
}

export { aer, type AerCapability } from "./aer.js";
export { af, type AfCapability } from "./af.js";
export { dsn, type DsnCapability } from "./dsn.js";
export { express, type ExpressCapability } from "./express.js";
export { MsixTable } from "./msix-table.js";
export { msi, type MsiCapability } from "./msi.js";
export { msix, msixPbaSize, msixTableSize, type BarLocation, type MsixCapability } from "./msix.js";
export { pm, type PmCapability } from "./pm.js";
export { vendorSpecific, type VendorSpecificCapability } from "./vendor-specific.js";
