import { Command } from "commander";
import { CommandError } from "../errors.js";
import { out } from "../output.js";
import { formatImage, jsonOfImage } from "./format.js";
import { inspectImage } from "../shared/inspect-image.js";

/** `vfiokit stream FILE`. */
export function streamCommand(): Command {
  return new Command("stream")
    .argument("<file>", "file written by vfiokit save, or a raw stream; -: standard input")
    .option("--json", "print everything as JSON")
    .action(async (file: string, { json }: { json?: true }) => {
      const image = await inspectImage(file);
      if (json) out.json(jsonOfImage(image), 2);
      else out.lines(formatImage(image, out.style));
      if (!image.valid) throw new CommandError(`${file}: a device would refuse this stream`);
    });
}
