import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { VfioError } from "@vfiokit/core";

/** Makes DATA smaller on the way. */
export interface Codec {
  compress(bytes: Uint8Array): Promise<Uint8Array>;
  /** @throws VfioError EINVAL: they do not decompress to `size` bytes; no more than that is allocated */
  decompress(bytes: Uint8Array, size: number): Promise<Uint8Array>;
}

type Zstd = (bytes: Uint8Array, options?: { readonly maxOutputLength: number }) => Promise<Uint8Array>;

/** Zstandard; undefined where this Node has none: it came with 22.15 and 23.8. */
export const zstd: Codec | undefined = zstdOf(zlib);

function zstdOf({ zstdCompress, zstdDecompress }: Record<string, unknown>): Codec | undefined {
  if (typeof zstdCompress !== "function" || typeof zstdDecompress !== "function") return undefined;
  return codec(
    promisify(zstdCompress as () => void) as unknown as Zstd,
    promisify(zstdDecompress as () => void) as unknown as Zstd,
  );
}

/** A codec of two functions of Node's zlib. */
export function codec(compress: Zstd, decompress: Zstd): Codec {
  return {
    compress: (bytes) => compress(bytes),
    async decompress(bytes, size) {
      const rule = `${bytes.length} compressed bytes: they should hold ${size}`;
      const plain = await decompress(bytes, { maxOutputLength: size }).catch((error: unknown) => {
        throw new VfioError("EINVAL", `${rule} (${(error as Error).message})`);
      });
      if (plain.length !== size) throw new VfioError("EINVAL", `${rule}, and hold ${plain.length}`);
      return plain;
    },
  };
}
