import { resolve } from "node:path";
import { Command } from "commander";
import { describeIdentity } from "@vfiokit/core/migration";
import { restoreImage } from "@vfiokit/user";
import { CommandError } from "../errors.js";
import { openImage } from "../shared/image-file.js";
import { inspectImage, problemText } from "../shared/inspect-image.js";
import { bytes } from "../shared/tables.js";
import { timeoutOption } from "../shared/timeout.js";

/** `vfiokit restore FILE SOCKET`. */
export function restoreCommand(): Command {
  return new Command("restore")
    .argument("<file>", "file written by vfiokit save")
    .argument("<socket>", "path of the server's socket")
    .addOption(timeoutOption())
    .option("--json", "print the result as one line of JSON")
    .action(async (file: string, socket: string, { json, timeout }: { json?: true; timeout: number }) => {
      const path = resolve(socket);
      const { begin, problem } = await inspectImage(file);
      // What is no stream of ours may be another server's, which alone can judge it.
      const foreign = problem?.rule === "not-a-stream";
      if (problem && !foreign)
        throw new CommandError(`${file}: ${problemText(problem)}; ${path} is untouched`);
      const { chunks } = await openImage(file);
      const { bytes: size } = await restoreImage(
        path,
        chunks,
        ({ identity }) => {
          if (!begin || describeIdentity(begin.identity) === describeIdentity(identity)) return;
          throw new CommandError(
            `${file} is of another device: ${describeIdentity(begin.identity)}; ` +
              `at ${path} is ${describeIdentity(identity)}, which is untouched`,
          );
        },
        { timeoutMs: 1000 * timeout },
      );
      process.stdout.write(
        json
          ? `${JSON.stringify({ file: resolve(file), socket: path, bytes: size })}\n`
          : `restored ${path}: ${bytes(size)}\n`,
      );
    });
}
