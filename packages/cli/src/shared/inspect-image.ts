import { StreamInspector, type StreamDescription, type StreamProblem } from "@vfiokit/core/migration";
import { openImage, type OpenedImage } from "./image-input.js";

export interface ImageDescription extends StreamDescription {
  /** What the file is compressed with; undefined: not at all. */
  readonly compression: string | undefined;
}

/** Reads the image in a file to its end; "-" is standard input. @throws CommandError: it cannot be read */
export async function inspectImage(file: string): Promise<ImageDescription> {
  return inspectOpened(await openImage(file), () => true);
}

/** @param goOn called after each chunk with what is known by then: false ends it there */
export async function inspectOpened(
  { chunks, codec }: OpenedImage,
  goOn: (description: StreamDescription) => boolean,
): Promise<ImageDescription> {
  const inspector = new StreamInspector();
  for await (const chunk of chunks) {
    inspector.push(chunk);
    if (!goOn(inspector.description)) return { ...inspector.description, compression: codec };
  }
  return { ...inspector.finish(), compression: codec };
}

/** "at byte 1234: checksum does not match (damaged)": the offset is that of the record. */
export function problemText({ text, rule }: StreamProblem): string {
  return `${text} (${rule})`;
}
