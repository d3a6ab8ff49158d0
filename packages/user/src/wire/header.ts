/** The 16 bytes before every message (vfio-user: "Header"). */

import { WireError } from "../layout/errors.js";
import { choice, flags, u16, u32, type Names } from "../layout/field.js";
import { struct } from "../layout/struct.js";

/** Commands of the protocol by name. 14 was DIRTY_PAGES, which DEVICE_FEATURE replaced. */
export const Command = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  DEVICE_GET_INFO: 4,
  DEVICE_GET_REGION_INFO: 5,
  DEVICE_GET_REGION_IO_FDS: 6,
  DEVICE_GET_IRQ_INFO: 7,
  DEVICE_SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  DEVICE_RESET: 13,
  REGION_WRITE_MULTI: 15,
  DEVICE_FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
} as const;
/** VFIO_USER_*: the name of a command, without the prefix. */
export type CommandName = keyof typeof Command;

const namesByNumber = new Map<number, CommandName>(
  Object.entries(Command).map(([name, number]) => [number, name as CommandName]),
);

/** The name of a command by its number; undefined: there is no such command. */
export function commandName(number: number): CommandName | undefined {
  return namesByNumber.get(number);
}

/** The bits of the header's flags that tell a command from a reply. */
export const TYPE_MASK = 0xf;
/** What a message is. */
export const Type = { COMMAND: 0, REPLY: 1 } as const;
/** Bits of the header's flags, next to the type in bits 0 to 3. */
export const HeaderFlags = { NO_REPLY: 1 << 4, ERROR: 1 << 5 } as const;

const typeName = (type: number): string =>
  type === Type.COMMAND ? "COMMAND" : type === Type.REPLY ? "REPLY" : `type ${type}`;

/** The header of every message. */
export const Header = struct("vfio_user_header", {
  msg_id: u16,
  cmd: choice(u16, Command as Names),
  msg_size: u32,
  flags: flags(u32, HeaderFlags, { mask: TYPE_MASK, text: typeName }),
  error_no: u32,
});

/** Bytes of a message's header. */
export const HEADER_SIZE = Header.size;

/** Type.COMMAND, Type.REPLY, or what no message has: of the message that starts at `at` in `view`. */
export function messageType(view: DataView, at: number): number {
  return view.getUint32(at + Header.offset.flags, true) & TYPE_MASK;
}

/**
 * The size of the message that starts at `at` in `view`, which holds its header.
 * A peer that sends another size cannot be trusted to be in step: close the connection.
 * @param max largest message, header included
 * @throws WireError
 */
export function messageSize(view: DataView, at: number, max: number): number {
  const size = view.getUint32(at + Header.offset.msg_size, true);
  if (size < HEADER_SIZE) throw Header.error("msg_size", size, `a message has at least ${HEADER_SIZE} bytes`);
  if (size > max)
    throw new WireError("vfio_user_header.msg_size", String(size), `the limit is ${max}`, "EMSGSIZE");
  return size;
}
