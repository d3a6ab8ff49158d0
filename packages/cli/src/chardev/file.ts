import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { resolve } from "node:path";
import { CommandError } from "../errors.js";
import { BufferedBackend } from "./buffered.js";
import type { Chardev, ChardevKind } from "./chardev.js";
import { NodeSink } from "./node-stream.js";

/** A file that takes what the guest sends. It is emptied first, as QEMU does. Nothing is received. */
export const file: ChardevKind = {
  name: "file",
  argument: "PATH",
  summary: "writes what the guest sends to PATH",
  async open(argument, log): Promise<Chardev> {
    const path = resolve(argument);
    const stream = createWriteStream(path);
    try {
      await once(stream, "open");
    } catch (error) {
      throw new CommandError(`chardev file:${path}: ${(error as NodeJS.ErrnoException).message}`);
    }
    stream.on("error", (error) => log.error({ path, err: error.message }, "chardev: writing failed"));

    const sink = new NodeSink(stream, () => backend.writable());
    const backend = new BufferedBackend({
      write: (bytes) => sink.write(bytes),
      setReading: () => undefined,
      close: (rest) => sink.end(rest),
    });
    return { backend, description: `file ${path}`, path, usesStdout: false };
  },
};
