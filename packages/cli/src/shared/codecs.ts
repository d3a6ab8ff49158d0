import type { Transform } from "node:stream";
import * as zlib from "node:zlib";
import { ContainerCodec } from "./container.js";

export interface FileCodec {
  readonly number: number;
  readonly name: string;
  compress(): Transform;
  /** `bytesWritten`: those that it has used of its input, as zlib's streams count them. */
  decompress(): Transform & { readonly bytesWritten: number };
}

/** Zstandard is in Node's zlib from 22.15 and 23.8 on, and so not in the types of the oldest Node that is supported. */
const { createZstdCompress, createZstdDecompress } = zlib as unknown as Partial<
  Record<"createZstdCompress" | "createZstdDecompress", () => Transform & { readonly bytesWritten: number }>
>;

/** What this Node can compress files with. */
export const fileCodecs: readonly FileCodec[] =
  createZstdCompress && createZstdDecompress
    ? [
        {
          number: ContainerCodec.ZSTD,
          name: "zstd",
          compress: createZstdCompress,
          decompress: createZstdDecompress,
        },
      ]
    : [];
