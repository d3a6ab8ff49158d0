import { AER, DSN, EXTENDED_NAMES, VENDOR_EXTENDED } from "./extended.js";
import { EXPRESS } from "./express.js";
import {
  decodeRegister,
  formatRegister,
  hex,
  type FieldValue,
  type RegisterDescription,
  type RegisterReader,
  type RegisterSpec,
} from "./register.js";
import { AF, MSI, MSIX, PM, STANDARD_NAMES, VENDOR } from "./standard.js";
import { PciCapId, PciExtCapId } from "../registers.js";

/** A capability as configuration space shows it. */
export interface CapabilityDescription {
  /** Bytes from the start of configuration space. */
  readonly offset: number;
  readonly id: number;
  /** True for those from 0x100 on. */
  readonly extended: boolean;
  /** Of extended capabilities. */
  readonly version?: number;
  /** What it is, such as "MSI-X"; "<chain looped>" or "<chain broken>" where the list goes wrong. */
  readonly name: string;
  /** What its first line says, such as the number of vectors. */
  readonly fields: Readonly<Record<string, FieldValue>>;
  /** Empty for capabilities that are named only. */
  readonly registers: readonly RegisterDescription[];
}

/** A capability that is decoded: `title` is the register that lspci shows beside its name. */
export interface CapabilitySpec {
  readonly name: string;
  readonly title: RegisterSpec;
  readonly registers: readonly RegisterSpec[];
}

const STANDARD: Readonly<Record<number, CapabilitySpec>> = {
  [PciCapId.PM]: PM,
  [PciCapId.MSI]: MSI,
  [PciCapId.VNDR]: VENDOR,
  [PciCapId.EXP]: EXPRESS,
  [PciCapId.MSIX]: MSIX,
  [PciCapId.AF]: AF,
};
const EXTENDED: Readonly<Record<number, CapabilitySpec>> = {
  [PciExtCapId.ERR]: AER,
  [PciExtCapId.DSN]: DSN,
  [PciExtCapId.VNDR]: VENDOR_EXTENDED,
};

/** Decodes the capability at the reader's base. */
export function describeCapability(
  reader: RegisterReader,
  id: number,
  version: number | undefined,
): CapabilityDescription {
  const extended = version !== undefined;
  const place = { offset: reader.base, id, extended, ...(extended ? { version } : {}) };
  const spec = (extended ? EXTENDED : STANDARD)[id];
  if (spec === undefined) {
    const name = (extended ? EXTENDED_NAMES : STANDARD_NAMES)[id];
    return { ...place, name: name ?? unknownName(reader, id, extended), fields: {}, registers: [] };
  }
  const registers = spec.registers.map((register) => decodeRegister(register, reader));
  return {
    ...place,
    name: spec.name,
    fields: decodeRegister(spec.title, reader)?.fields ?? {},
    registers: registers.filter((register) => register !== undefined),
  };
}

/** The lines of `lspci -vv`; registers named in `hidden` are left out. */
export function formatCapability(description: CapabilityDescription, hidden: readonly string[]): string[] {
  const { offset, id, extended, version, fields } = description;
  const spec = (extended ? EXTENDED : STANDARD)[id];
  const place = version === undefined ? hex(offset, 2) : `${hex(offset, 3)} v${version}`;
  const decoded = spec !== undefined && spec.name === description.name;
  const title = decoded
    ? formatRegister(spec.title, { name: spec.name, offset, value: 0, fields }).join("")
    : description.name;
  const lines = [`\tCapabilities: [${place}] ${title}`];
  if (!decoded) return lines;
  for (const register of description.registers) {
    const registerSpec = spec.registers.find(({ name }) => name === register.name);
    if (registerSpec === undefined || hidden.includes(register.name)) continue;
    lines.push(...formatRegister(registerSpec, register).map((line) => `\t\t${line}`));
  }
  return lines;
}

function unknownName(reader: RegisterReader, id: number, extended: boolean): string {
  if (extended) return `Extended Capability ID 0x${id.toString(16)}`;
  return `Capability ID 0x${id.toString(16)} [${hex(reader.u16(2), 4)}]`;
}
