import { resolve } from "node:path";
import { Command, Option } from "commander";
import { describeIdentity } from "@vfiokit/core/migration";
import { saveImage, type SavedImage } from "@vfiokit/user";
import { chosenCompression, compressions, type CompressionName } from "../migrate/compression.js";
import { duration } from "../shared/units.js";
import { endSignal } from "../shared/signals.js";
import { bytes } from "../shared/tables.js";
import { timeoutOption } from "../shared/timeout.js";
import { fileCodecs } from "../shared/codecs.js";
import { ImageFile } from "../shared/image-file.js";

interface SaveOptions {
  readonly compression: CompressionName;
  readonly timeout: number;
  readonly json?: true;
}

/** `vfiokit save SOCKET FILE`. */
export function saveCommand(): Command {
  return new Command("save")
    .argument("<socket>", "path of the server's socket")
    .argument("<file>", "file to write; replaced once it is complete")
    .addOption(new Option("--compression <how>", "compress the file").choices(compressions).default("auto"))
    .addOption(timeoutOption())
    .option("--json", "print the result as one line of JSON")
    .action(async (socket: string, file: string, options: SaveOptions) => {
      const path = resolve(socket);
      const codec = chosenCompression(options.compression) === "none" ? undefined : fileCodecs[0];
      const image = await ImageFile.create(resolve(file), codec);
      let saved: SavedImage;
      try {
        saved = await saveImage(path, (chunk) => image.write(chunk), {
          signal: cancelSignal(),
          timeoutMs: 1000 * options.timeout,
        });
        await image.commit();
      } catch (error) {
        await image.discard();
        throw error;
      }
      const { identity, bytes: size, paused_ms } = saved;
      const report = { socket: path, file: resolve(file), bytes: size, fileBytes: image.size, paused_ms };
      process.stdout.write(
        options.json
          ? `${JSON.stringify({ ...report, identity, compression: codec?.name ?? "none" })}\n`
          : `saved ${describeIdentity(identity)}: ${bytes(size)}` +
              `${codec ? `, ${bytes(image.size)} with ${codec.name}` : ""}; it was stopped for ${duration(paused_ms)}\n`,
      );
    });
}

function cancelSignal(): AbortSignal {
  const abort = new AbortController();
  void endSignal().then((signal) => abort.abort(new Error(signal)));
  return abort.signal;
}
