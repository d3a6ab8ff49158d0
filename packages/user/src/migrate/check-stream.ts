import { VfioError } from "@vfiokit/core";
import type { DeclaredSection, StreamDescription } from "@vfiokit/core/migration";
import type { EndpointDescription } from "./endpoint.js";

/**
 * Whether the target takes what the source writes, as far as both say what their streams are made of.
 * @returns what may be refused, depending on the values that the device has when it is stopped
 * @throws VfioError EINVAL: it cannot: a format, or a section with its versions or sizes at both ends
 */
export function checkStream(source: EndpointDescription, target: EndpointDescription): string[] {
  if (!source.stream || !target.stream) return [];
  const fail = (what: string, here: string | number, there: string | number) =>
    new VfioError("EINVAL", `${what} is ${here} at ${source.name} and ${there} at ${target.name}`);
  const { format } = source.stream;
  if (format > target.stream.format) throw fail("the stream's format", format, target.stream.format);
  const known = new Map(target.stream.sections.map((section) => [section.name, section]));
  const doubts: string[] = [];
  for (const section of source.stream.sections) {
    const { name, size } = section;
    const other = known.get(name);
    if (size !== undefined && other?.size !== size)
      throw fail(`section ${name}`, bytesOf(section), bytesOf(other));
    // Left out while its fields have their defaults, and written in the oldest version that loses nothing.
    if (section.optional || (other && other.version >= section.version)) continue;
    doubts.push(
      `section ${name} is ${versionOf(section)} at ${source.name} and ${versionOf(other)} at ${target.name}: it is ` +
        "refused if it holds what is new",
    );
  }
  return doubts;
}

/**
 * Whether a device takes an image, as far as it says what its streams are made of.
 * @param name the image's, for messages
 * @throws VfioError EINVAL: it does not: the field and what it is in both, for a section with the section
 */
export function checkImage(
  name: string,
  { begin, sections }: Pick<StreamDescription, "begin" | "sections">,
  device: EndpointDescription,
): void {
  const fail = (field: string, here: string | number, there: string | number) =>
    new VfioError("EINVAL", `${field} is ${here} in ${name} and ${there} at ${device.name}`);
  if (!begin || !device.stream) return;
  if (begin.format > device.stream.format)
    throw fail("the stream's format", begin.format, device.stream.format);
  const known = new Map(device.stream.sections.map((section) => [section.name, section]));
  for (const section of sections) {
    const { name, version, size, optional } = section;
    const other = known.get(name);
    // What is optional and new is left out.
    if (optional && (!other || version > other.version)) continue;
    if (!other) throw fail(`section ${name}`, `version ${version} of ${size} bytes`, "unknown");
    if (version > other.version) throw fail(`section ${name}: version`, version, `at most ${other.version}`);
    if (other.size !== undefined && size !== other.size)
      throw fail(`section ${name}: size`, `${size} bytes`, `${other.size} bytes`);
  }
  for (const { name, size } of device.stream.sections)
    if (size !== undefined && !sections.some((section) => section.name === name))
      throw fail(`section ${name}`, "missing", `memory of ${size} bytes`);
}

function bytesOf(section: DeclaredSection | undefined): string {
  return section?.size === undefined ? versionOf(section) : `${section.size} bytes`;
}

function versionOf(section: DeclaredSection | undefined): string {
  return section ? `version ${section.version}` : "unknown";
}
