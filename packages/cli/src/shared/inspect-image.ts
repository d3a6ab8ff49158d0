import { StreamInspector, type StreamDescription, type StreamProblem } from "@vfiokit/core/migration";
import { openImage } from "./image-file.js";

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

/** "at byte 1234: checksum does not match (damaged)": the offset is that of the record. */
export function problemText({ text, rule }: StreamProblem): string {
  return `${text} (${rule})`;
}
