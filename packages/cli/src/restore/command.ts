import { resolve } from "node:path";
import { Command } from "commander";
import { describeIdentity } from "@vfiokit/core/migration";
import { restoreImage } from "@vfiokit/user";
import { CommandError } from "../errors.js";
import { out } from "../output.js";
import { openImage } from "../shared/image-file.js";
import { inspectImage, problemText } from "../shared/inspect-image.js";
import { bytes } from "../shared/tables.js";

/** `vfiokit restore FILE SOCKET`. */
export function restoreCommand(): Command {
  return new Command("restore")
    .argument("<file>", "file written by vfiokit save")
    .argument("<socket>", "path of the server's socket")
    .option("--json", "print the result as one line of JSON")
    .action(async (file: string, socket: string, { json }: { json?: true }) => {
      const path = resolve(socket);
      const { begin, problem } = await inspectImage(file);
      // What is no stream of ours may be another server's, which alone can judge it.
      const foreign = problem?.rule === "not-a-stream";
      if (problem && !foreign)
        throw new CommandError(`${file}: ${problemText(problem)}; ${path} is untouched`);
      const { chunks } = await openImage(file);
      const { bytes: size } = await restoreImage(path, chunks, ({ identity }) => {
        if (!begin || describeIdentity(begin.identity) === describeIdentity(identity)) return;
        throw new CommandError(
          `${file} is of another device: ${describeIdentity(begin.identity)}; ` +
            `at ${path} is ${describeIdentity(identity)}, which is untouched`,
        );
      });
      if (json) out.json({ file: resolve(file), socket: path, bytes: size });
      else out.line(`restored ${path}: ${bytes(size)}`);
    });
}
