import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { expect, it } from "vitest";

const source = fileURLToPath(new URL("../src/index.ts", import.meta.url));

/** Heap growth of a loop, without a collection in between, in a process of its own. */
const program = `
import * as library from "./lockdep.js";
const { Barrier, Channel, Latch, Mutex, Once, RwSemaphore, Semaphore, Task, lockdep } = library;
lockdep?.configure({ mode: process.argv[2] });
const [outer, inner, sem] = [new Mutex("outer"), new Mutex("inner"), new RwSemaphore("sem")];
const [permits, items, channel] = [new Semaphore(3, "permits"), new Semaphore(1, "items"), new Channel(4, "channel")];
const [barrier, latch, once] = [new Barrier(1, "barrier"), new Latch(0, "latch"), new Once(() => 1, "once")];
const NESTED = { subclass: 1 };
const task = new Task("loop");
let promises = 0;
const turn = () => {
  if (outer.lock(task)) promises++;
  if (inner.lock(task, NESTED)) promises++;
  if (sem.downRead(task)) promises++;
  sem.upRead(task);
  if (sem.downWrite(task)) promises++;
  sem.downgradeWrite(task);
  sem.upRead(task);
  if (permits.acquire(task, 2) instanceof Promise) promises++;
  permits.release(task, 2);
  items.consume(task);
  items.post();
  if (channel.send(task, 1)) promises++;
  if (channel.receive(task) instanceof Promise) promises++;
  if (barrier.wait(task) instanceof Promise) promises++;
  if (latch.wait(task)) promises++;
  if (once.get(task) instanceof Promise) promises++;
  outer.unlock(task); // out of order
  inner.unlock(task);
};
for (let i = 0; i < 200_000; i++) turn();
gc();
const before = process.memoryUsage().heapUsed;
for (let i = 0; i < 1_000_000; i++) turn();
const grown = process.memoryUsage().heapUsed - before;
console.log(JSON.stringify({ grown, promises }));
`;

for (const mode of ["off", "throw"]) {
  it(`a million uncontended turns allocate nothing and make no promise (validator: ${mode})`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "lockdep-alloc-"));
    try {
      await build({
        logLevel: "error",
        configFile: false,
        build: {
          lib: { entry: source, formats: ["es"], fileName: () => "lockdep.js" },
          outDir: folder,
          minify: false,
          target: "es2022",
        },
      });
      writeFileSync(join(folder, "package.json"), `{"type":"module"}`);
      writeFileSync(join(folder, "loop.js"), program);
      const output = execFileSync(
        process.execPath,
        [
          "--expose-gc",
          "--max-semi-space-size=128",
          // On a busy machine the compiler's thread comes late, and until then the interpreter boxes numbers.
          "--no-concurrent-recompilation",
          join(folder, "loop.js"),
          mode,
        ],
        { encoding: "utf8" },
      );
      const { grown, promises } = JSON.parse(output) as { grown: number; promises: number };
      expect(promises).toBe(0);
      // One small object a turn would be 16 MB or more.
      expect(grown).toBeLessThan(1_000_000);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
