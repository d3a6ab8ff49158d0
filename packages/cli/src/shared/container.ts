/** What a file with an image in it looks like: docs/migration.md, "Files". */

import { CommandError } from "../errors.js";

/**
 * An image in a file is the migration stream itself, or this header with the compressed stream behind it. Both magics
 * differ in the fourth byte; neither is text, and what mangles text mangles them.
 */
const CONTAINER_MAGIC = Uint8Array.of(0x89, 0x56, 0x4b, 0x5a, 0x0d, 0x0a, 0x1a, 0x0a);
const CONTAINER_VERSION = 1;

/** Offsets. All numbers are little-endian. */
const Offset = { MAGIC: 0, VERSION: 8, CODEC: 10 } as const;
export const CONTAINER_HEADER = 12;

export const ContainerCodec = { ZSTD: 1 } as const;

export function encodeContainerHeader(codec: number): Uint8Array {
  const header = new Uint8Array(CONTAINER_HEADER);
  header.set(CONTAINER_MAGIC, Offset.MAGIC);
  const view = new DataView(header.buffer);
  view.setUint16(Offset.VERSION, CONTAINER_VERSION, true);
  view.setUint16(Offset.CODEC, codec, true);
  return header;
}

/**
 * The codec of a file that begins with `start`; undefined: it is no container.
 * @throws CommandError: it is one, and cannot be read
 */
export function containerCodec(name: string, start: Uint8Array): number | undefined {
  if (!CONTAINER_MAGIC.every((byte, at) => start[at] === byte)) return undefined;
  if (start.length < CONTAINER_HEADER) throw new CommandError(`${name}: the file breaks off in its header`);
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const version = view.getUint16(Offset.VERSION, true);
  if (version !== CONTAINER_VERSION)
    throw new CommandError(
      `${name}: a file of version ${version}: this vfiokit reads version ${CONTAINER_VERSION}`,
    );
  return view.getUint16(Offset.CODEC, true);
}
