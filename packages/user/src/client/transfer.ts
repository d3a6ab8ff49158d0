/** Accesses to a region that do not fit into one message, or that share one. */

import { VfioError } from "@vfiokit/core";
import { SingleWrite, type RequestPayload } from "../wire/index.js";

/**
 * Moves `all` in pieces of at most `most` bytes, which are under way together. Settles when all have, so that nothing
 * touches the caller's buffer afterwards.
 * @returns the bytes up to the first piece that fell short
 */
export async function inPieces(
  all: Uint8Array,
  most: number,
  transfer: (piece: Uint8Array, at: number) => Promise<number>,
): Promise<number> {
  if (all.length <= most) return transfer(all, 0);
  const pieces: Promise<number>[] = [];
  for (let at = 0; at < all.length; at += most) pieces.push(transfer(all.subarray(at, at + most), at));
  await Promise.allSettled(pieces);
  let total = 0;
  for (const piece of pieces) {
    const count = await piece;
    total += count;
    if (count < most) break;
  }
  return total;
}

/** One write of `regionWriteMulti`, of at most 8 bytes. */
export interface RegionWrite {
  readonly region: number;
  readonly offset: number;
  readonly data: Uint8Array;
}

/** @throws VfioError EINVAL for a write of more than 8 bytes */
export function multiWrite(writes: readonly RegionWrite[]): RequestPayload<"REGION_WRITE_MULTI"> {
  const wrs = writes.map(({ region, offset, data }) => {
    const padded = new Uint8Array(SingleWrite.fields.data.size);
    if (data.length > padded.length) {
      throw new VfioError(
        "EINVAL",
        `a write of ${data.length} bytes: at most ${padded.length} in a message of many`,
      );
    }
    padded.set(data);
    return { offset: BigInt(offset), region, count: data.length, data: padded };
  });
  return { wr_cnt: BigInt(wrs.length), wrs };
}
