import { crc32c } from "../../src/migration/crc32c.js";

/** Streams taken apart, and put together by hand. */

export const HEADER = 12;
export const CRC = 4;
export const BEGIN = HEADER + 48 + CRC;

/** Where each record of a well-formed stream starts, and the end. */
export function recordStarts(stream: Uint8Array): number[] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const starts = [0];
  while (starts.at(-1)! < stream.length) {
    starts.push(starts.at(-1)! + HEADER + view.getUint32(starts.at(-1)! + 8, true) + CRC);
  }
  return starts;
}

export function records(stream: Uint8Array): Uint8Array[] {
  const starts = recordStarts(stream);
  return starts.slice(0, -1).map((start, i) => stream.slice(start, starts[i + 1]));
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A stream built by hand: every record gets its number and a right checksum. Bodies as in the specification. */
export function forge(...parts: readonly (readonly [type: string, body: Uint8Array])[]): Uint8Array {
  let seed = 0;
  return concat(
    ...parts.map(([type, body], sequence) => {
      const record = new Uint8Array(HEADER + body.length + CRC);
      const view = new DataView(record.buffer);
      for (let i = 0; i < 4; i++) record[i] = type.charCodeAt(i);
      view.setUint32(4, sequence, true);
      view.setUint32(8, body.length, true);
      record.set(body, HEADER);
      const crc = crc32c(record, seed, 0, HEADER + body.length);
      view.setUint32(HEADER + body.length, crc, true);
      if (sequence === 0) seed = crc;
      return record;
    }),
  );
}

export const sectionBody = (name: string, size: bigint, flags = 0) => {
  const body = new Uint8Array(16 + name.length);
  const view = new DataView(body.buffer);
  view.setUint32(0, 1, true);
  view.setUint32(4, flags, true);
  view.setBigUint64(8, size, true);
  body.set(new TextEncoder().encode(name), 16);
  return body;
};
export const endBody = (sections: bigint, bytes: bigint) => {
  const body = new Uint8Array(16);
  new DataView(body.buffer).setBigUint64(0, sections, true);
  new DataView(body.buffer).setBigUint64(8, bytes, true);
  return body;
};
