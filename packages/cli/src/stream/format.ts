import { describeIdentity } from "@vfiokit/core/migration";
import type { Style } from "../style.js";
import { bytes, table } from "../shared/tables.js";
import { problemText, type ImageDescription } from "../shared/inspect-image.js";

/** A stream as lines for a person. */
export function formatImage(image: ImageDescription, style: Style): string[] {
  const { begin, sections, records, begins, problem, compression } = image;
  const restarts =
    begins > 1 ? `, of ${begins} images: the device was reset meanwhile, and only the last one counts` : "";
  return [
    ...(begin
      ? table([
          ["device", describeIdentity(begin.identity)],
          ["format", `${begin.format}`],
          ["generation", `${begin.generation}`],
          ["stream id", hex(begin.streamId)],
        ])
      : []),
    ...table([
      [
        "size",
        `${bytes(image.bytes)} in ${records} records${restarts}${compression ? `, in the file with ${compression}` : ""}`,
      ],
    ]),
    "",
    ...(sections.length > 0
      ? [
          ...table([
            ["section", "version", "size", "received", ""],
            ...sections.map(({ name, version, size, received, optional, paged, complete }) => [
              name,
              `${version}`,
              bytes(size),
              bytes(received),
              [
                ...(optional ? ["optional"] : []),
                ...(paged ? ["in pages"] : []),
                ...(complete ? [] : [style.red("incomplete")]),
              ].join(", "),
            ]),
          ]),
          "",
        ]
      : []),
    problem
      ? style.red(problemText(problem))
      : `${style.green("valid")}: every checksum, number and count is right`,
  ];
}

/** The same for programs. */
export function jsonOfImage(image: ImageDescription): unknown {
  const { begin, ...rest } = image;
  return {
    ...rest,
    ...(begin && {
      begin: { ...begin, streamId: hex(begin.streamId), generation: Number(begin.generation) },
    }),
  };
}

function hex(id: Uint8Array): string {
  return Buffer.from(id).toString("hex");
}
