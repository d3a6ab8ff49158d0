import { StreamInspector, type StreamDescription } from "@vfiokit/core/migration";
import { openImage } from "../save/image-file.js";

export interface ImageDescription extends StreamDescription {
  /** What the file is compressed with; undefined: not at all. */
  readonly compression: string | undefined;
}

/** Reads the image in a file to its end; "-" is standard input. @throws CommandError: it cannot be read */
export async function inspectImage(file: string): Promise<ImageDescription> {
  const { chunks, codec } = await openImage(file);
  const inspector = new StreamInspector();
  for await (const chunk of chunks) inspector.push(chunk);
  return { ...inspector.finish(), compression: codec };
}
