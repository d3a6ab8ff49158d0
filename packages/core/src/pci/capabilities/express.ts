import { ConfigEffect } from "../config-space.js";
import type { FieldWriter } from "../layout.js";
import {
  PciCapId,
  PciExp,
  PciExpDevcap,
  PciExpDevcap2,
  PciExpDevctl,
  PciExpDevctl2,
  PciExpDevsta,
  PciExpLnkctl,
  PciExpLnkctl2,
  PciExpType,
} from "../registers.js";

const TYPES = {
  endpoint: PciExpType.ENDPOINT,
  legacyEndpoint: PciExpType.LEG_END,
  rootComplexIntegrated: PciExpType.RC_END,
} as const;
const VERSION = 2;

/** PCI Express endpoint. */
export interface ExpressCapability {
  readonly kind: "express";
  readonly id: typeof PciCapId.EXP;
  readonly size: typeof PciExp.SIZEOF_V2;
  readonly type: keyof typeof TYPES;
  /** Function level reset can be initiated by the device control register. */
  readonly flr: boolean;
  /** 1 for 2.5 GT/s to 6 for 64 GT/s. */
  readonly generation: 1 | 2 | 3 | 4 | 5 | 6;
  readonly lanes: 1 | 2 | 4 | 8 | 16;
}

/** PCI Express capability, version 2: an endpoint with FLR on a 2.5 GT/s link of one lane, by default. */
export function express(
  options: Partial<Pick<ExpressCapability, "type" | "flr" | "generation" | "lanes">> = {},
): ExpressCapability {
  const { type = "endpoint", flr = true, generation = 1, lanes = 1 } = options;
  return { kind: "express", id: PciCapId.EXP, size: PciExp.SIZEOF_V2, type, flr, generation, lanes };
}

export function writeExpress(fields: FieldWriter, cap: ExpressCapability): void {
  fields.u16(PciExp.FLAGS, VERSION | (TYPES[cap.type] << 4));
  writeDevice(fields, cap);
  // PCIe 6.0 §7.5.3: functions in the root complex have no link, and read its registers as 0.
  if (cap.type !== "rootComplexIntegrated") writeLink(fields, cap);
}

function writeDevice(fields: FieldWriter, cap: ExpressCapability): void {
  // Role-based error reporting is required since PCIe 1.1. Max_Payload_Size 128 bytes: code 0.
  fields.u32(PciExp.DEVCAP, PciExpDevcap.RBER | (cap.flr ? PciExpDevcap.FLR : 0));
  // PCIe 6.0 §7.5.3.4: relaxed ordering and no snoop start enabled, Max_Read_Request_Size at 512 bytes.
  fields.u16(PciExp.DEVCTL, PciExpDevctl.RELAX_EN | PciExpDevctl.NOSNOOP_EN | PciExpDevctl.READRQ_512B, {
    rw:
      PciExpDevctl.CERE |
      PciExpDevctl.NFERE |
      PciExpDevctl.FERE |
      PciExpDevctl.URRE |
      PciExpDevctl.RELAX_EN |
      PciExpDevctl.PAYLOAD |
      PciExpDevctl.NOSNOOP_EN |
      PciExpDevctl.READRQ,
    action: cap.flr ? PciExpDevctl.BCR_FLR : 0,
  });
  if (cap.flr) fields.watch(PciExp.DEVCTL, PciExpDevctl.BCR_FLR, ConfigEffect.FLR_PCIE);
  fields.u16(PciExp.DEVSTA, 0, {
    w1c: PciExpDevsta.CED | PciExpDevsta.NFED | PciExpDevsta.FED | PciExpDevsta.URD,
  });
  // PCIe 6.0 §7.5.3.15: functions that send requests must be able to switch the completion timeout off.
  fields.u32(PciExp.DEVCAP2, PciExpDevcap2.COMP_TMOUT_DIS);
  fields.u16(PciExp.DEVCTL2, 0, { rw: PciExpDevctl2.COMP_TMOUT_DIS });
}

function writeLink(fields: FieldWriter, cap: ExpressCapability): void {
  const speedAndWidth = cap.generation | (cap.lanes << 4);
  fields.u32(PciExp.LNKCAP, speedAndWidth);
  fields.u16(PciExp.LNKCTL, 0, {
    rw: PciExpLnkctl.ASPMC | PciExpLnkctl.RCB | PciExpLnkctl.CCC | PciExpLnkctl.ES,
  });
  fields.u16(PciExp.LNKSTA, speedAndWidth);
  // Supported Link Speeds Vector: bit 1 for the first generation, and every one up to the maximum.
  fields.u32(PciExp.LNKCAP2, (2 << cap.generation) - 2);
  fields.u16(PciExp.LNKCTL2, cap.generation, { rw: PciExpLnkctl2.TLS });
}
