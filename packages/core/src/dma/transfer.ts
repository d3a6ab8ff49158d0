import { VfioError } from "../errno.js";
import type { ClientMemory } from "../memory.js";
import type { DmaMap, MapTable } from "./map-table.js";
import { PAGE_SIZE, addressOf, hex, pageName } from "./page.js";

/** Copies up to this many bytes in a loop: cheaper than making a view for TypedArray.set. */
const SHORT_COPY = 64;

/** The part of a transfer that lies in one map. */
export interface Piece {
  readonly map: DmaMap;
  /** Page frame where it begins. An offset in the map would not be exact: maps without backing can be huge. */
  readonly frame: number;
  /** Offset in that page. */
  readonly offset: number;
  readonly buffer: Uint8Array;
}

/**
 * Splits a transfer at the boundaries of maps.
 * @throws VfioError EFAULT: a part is not mapped; EACCES: a map does not allow it
 */
export function split(
  table: MapTable,
  frame: number,
  offset: number,
  buffer: Uint8Array,
  write: boolean,
): Piece[] {
  const pieces: Piece[] = [];
  let at = frame;
  let skip = offset;
  let done = 0;
  for (let index = table.find(frame); done < buffer.length; index++) {
    const map = table.at(index);
    if (!map || map.first > at)
      throw new VfioError(
        "EFAULT",
        `${describe(frame, offset, buffer, write)}: page ${pageName(at)} is not mapped`,
      );
    if (!allows(map, write))
      throw new VfioError(
        "EACCES",
        `${describe(frame, offset, buffer, write)}: the map at ${pageName(map.first)} does not allow it`,
      );
    const size = Math.min(buffer.length - done, (map.end - at) * PAGE_SIZE - skip);
    pieces.push({ map, frame: at, offset: skip, buffer: buffer.subarray(done, done + size) });
    done += size;
    at = map.end;
    skip = 0;
  }
  return pieces;
}

export function allows(map: DmaMap, write: boolean): boolean {
  return write ? map.writable : map.readable;
}

/** Transfers a piece whose map has a backing. */
export function copyPiece({ map, frame, offset, buffer }: Piece, write: boolean): void {
  copy(map, (frame - map.first) * PAGE_SIZE + offset, buffer, write);
}

/** Transfers between a map with a backing and a buffer. @param start offset in the map */
export function copy(map: DmaMap, start: number, buffer: Uint8Array, write: boolean): void {
  const { bytes } = map;
  if (!bytes) {
    if (write) map.backing!.write(start, buffer);
    else map.backing!.read(start, buffer);
  } else if (buffer.length > SHORT_COPY) {
    if (write) bytes.set(buffer, start);
    else buffer.set(bytes.subarray(start, start + buffer.length));
  } else if (write) {
    for (let i = 0; i < buffer.length; i++) bytes[start + i] = buffer[i]!;
  } else {
    for (let i = 0; i < buffer.length; i++) buffer[i] = bytes[start + i]!;
  }
}

/** Transfers a piece whose map has none, by message. @throws VfioError EFAULT, and what the client answers */
export function exchange(piece: Piece, client: ClientMemory | undefined, write: boolean): Promise<void> {
  const address = addressOf(piece.frame, piece.offset);
  if (!client) throw new VfioError("EFAULT", `DMA at ${hex(address)}: no client is connected`);
  return write ? client.write(address, piece.buffer) : client.read(address, piece.buffer);
}

function describe(frame: number, offset: number, buffer: Uint8Array, write: boolean): string {
  return `DMA ${write ? "write" : "read"} of ${buffer.length} bytes at ${hex(addressOf(frame, offset))}`;
}
