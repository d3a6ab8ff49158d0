/** What `--dma-access` costs: memory of a client that is sealed and mapped, against the same by pread and pwrite. */
import { createBacking, createMemfd } from "@vfiokit/user/linux";
import { takeTurns } from "./lib/measure.js";

export const name = "dma-access";

const TURNS = 9;
const SIZE = 64 * 1024 * 1024;
const ACCESSES = 2000;

/** @returns {Promise<import("./lib/measure.js").Row[]>} */
export async function run() {
  const memory = createMemfd("bench", SIZE);
  /** @param {"file" | "mmap"} access */
  const backing = (access) =>
    createBacking(memory.duplicate(), { offset: 0, length: SIZE, writable: true, access });
  const file = backing("file");
  const mapped = backing("mmap");
  try {
    const rows = [];
    for (const length of [64, 4096, 65_536]) {
      const bytes = new Uint8Array(length);
      for (const operation of /** @type {const} */ (["read", "write"])) {
        /** @param {typeof file} one */
        const each = (one) => {
          const start = performance.now();
          for (let i = 0; i < ACCESSES; i++) one[operation]((i * length) % (SIZE - length), bytes);
          return Promise.resolve(((performance.now() - start) * 1000) / ACCESSES);
        };
        rows.push(
          await takeTurns(
            `file / mmap: ${operation} of ${length} bytes`,
            "us",
            TURNS,
            () => each(file),
            () => each(mapped),
          ),
        );
      }
    }
    return rows;
  } finally {
    file.release();
    mapped.release();
    memory.close();
  }
}
