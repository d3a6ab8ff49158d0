import * as zlib from "node:zlib";
import { UsageError } from "../errors.js";

export const compressions = ["auto", "none", "zstd"] as const;
export type CompressionName = (typeof compressions)[number];

/** Zstandard came to Node with 22.15 and 23.8. */
export const hasZstd = "zstdCompressSync" in zlib;

/** @throws UsageError: this Node has no Zstandard */
export function chosenCompression(name: CompressionName): "none" | "zstd" {
  if (name === "zstd" && !hasZstd)
    throw new UsageError(`--compression zstd needs Node 22.15 or newer, and this is ${process.version}`);
  return name === "none" || !hasZstd ? "none" : "zstd";
}
