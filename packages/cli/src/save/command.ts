import { resolve } from "node:path";
import { Command, Option } from "commander";
import { describeIdentity } from "@vfiokit/core/migration";
import { RelayClient, saveImage, type SavedImage } from "@vfiokit/user";
import { chosenCompression, compressions, type CompressionName } from "../migrate/compression.js";
import { err, out } from "../output.js";
import { duration } from "../shared/units.js";
import { endSignal } from "../shared/signals.js";
import { bytes } from "../shared/tables.js";
import { timeoutOption } from "../shared/timeout.js";
import { fileCodecs } from "../shared/codecs.js";
import { DEVICE_HELP, deviceName } from "../shared/device-name.js";
import { ImageFile } from "../shared/image-file.js";

interface SaveOptions {
  readonly compression: CompressionName;
  /** Milliseconds. */
  readonly timeout: number;
  readonly json?: true;
}

/** `vfiokit save SOCKET FILE`. */
export function saveCommand(): Command {
  return new Command("save")
    .argument("<device>", DEVICE_HELP)
    .argument("<file>", "file to write; replaced once it is complete. A FIFO, or -: standard output")
    .addOption(new Option("--compression <how>", "compress the file").choices(compressions).default("auto"))
    .addOption(timeoutOption())
    .option("--json", "print the result as one line of JSON")
    .action(async (device: string, file: string, options: SaveOptions) => {
      const path = deviceName(device);
      const codec = chosenCompression(options.compression) === "none" ? undefined : fileCodecs[0];
      const target = file === "-" ? file : resolve(file);
      const signal = cancelSignal();
      const image = await ImageFile.create(target, codec, signal);
      let saved: SavedImage;
      try {
        saved = await saveTo(image, path, signal, options.timeout);
        await image.commit();
      } catch (error) {
        await image.discard();
        throw error;
      }
      const { identity, bytes: size, paused_ms } = saved;
      const report = { socket: path, file: target, bytes: size, fileBytes: image.size, paused_ms };
      // Standard output may be the image's.
      const say = file === "-" ? err : out;
      if (options.json) say.json({ ...report, identity, compression: codec?.name ?? "none" });
      else
        say.line(
          `saved ${describeIdentity(identity)}: ${bytes(size)}` +
            `${codec ? `, ${bytes(image.size)} with ${codec.name}` : ""}; it was stopped for ${duration(paused_ms)}`,
        );
    });
}

/** A relay's client has the device: the relay saves it then. */
async function saveTo(
  image: ImageFile,
  path: string,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<SavedImage> {
  const write = (chunk: Uint8Array): Promise<void> => image.write(chunk);
  using relay = await RelayClient.open(path, timeoutMs);
  if ((await relay?.status(timeoutMs))?.connected) return await relay!.save(write, { signal, timeoutMs });
  return await saveImage(path, write, { signal, timeoutMs });
}

function cancelSignal(): AbortSignal {
  const abort = new AbortController();
  void endSignal().then((signal) => abort.abort(new Error(signal)));
  return abort.signal;
}
