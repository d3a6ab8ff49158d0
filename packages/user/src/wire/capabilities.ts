/** The JSON in VFIO_USER_VERSION: what each side can do. */

import { WireError } from "../layout/errors.js";
import type { DescribedField, Tail } from "../layout/struct.js";

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/** Capabilities of the sender. Others than these are kept as they are: newer peers may have more. */
export interface Capabilities extends JsonObject {
  /** Descriptors that the sender can receive in one message. Absent: 1. */
  readonly max_msg_fds?: number;
  /** Largest `count` of a data transfer, bytes. Absent: 1048576. */
  readonly max_data_xfer_size?: number;
  /** DMA maps that can exist at a time. Absent: 65535. */
  readonly max_dma_maps?: number;
  /** Page sizes of DMA maps, or'ed. Absent: 4096. */
  readonly pgsizes?: number;
  /** A second socket for commands from the server. */
  readonly twin_socket?: TwinSocket;
  /** REGION_WRITE_MULTI is supported. Absent: false. */
  readonly write_multiple?: boolean;
  /** Not in the specification any more; libvfio-user and QEMU send it. */
  readonly migration?: MigrationCapability;
}

export interface TwinSocket extends JsonObject {
  readonly supported?: boolean;
  /** In a reply: index of the socket among the message's descriptors. */
  readonly fd_index?: number;
}

export interface MigrationCapability extends JsonObject {
  readonly pgsize?: number;
  readonly max_bitmap_size?: number;
}

export interface VersionData extends JsonObject {
  readonly capabilities?: Capabilities;
}

/** What holds where a capability is absent (vfio-user: "Capabilities"). */
export const capabilityDefaults = {
  max_msg_fds: 1,
  max_data_xfer_size: 1024 * 1024,
  max_dma_maps: 65535,
  pgsizes: 4096,
} as const;

const MAX_TEXT = 64 * 1024;
const MAX_DEPTH = 16;

/** Linux passes at most 253 descriptors with a message (SCM_MAX_FD); a proposal far beyond that is a mistake. */
const MAX_MSG_FDS = 1024;

type Shape = "number" | "power of two" | "boolean" | Limited | { readonly [key: string]: Shape };
/** An unsigned integer up to this. */
interface Limited {
  readonly largest: number;
}

/** Every known key with its type. All are optional. */
const shape: Shape = {
  capabilities: {
    max_msg_fds: { largest: MAX_MSG_FDS },
    max_data_xfer_size: "number",
    max_dma_maps: "number",
    pgsizes: "number",
    twin_socket: { supported: "boolean", fd_index: "number" },
    write_multiple: "boolean",
    migration: { pgsize: "power of two", max_bitmap_size: "number" },
  },
};

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const isUnsigned = (value: unknown, largest: number): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= largest;

const isPowerOfTwo = (value: number): boolean => value > 0 && (BigInt(value) & (BigInt(value) - 1n)) === 0n;

const isLimited = (shape: object): shape is Limited =>
  "largest" in shape && typeof shape.largest === "number";

const shown = (value: unknown): string => {
  const text = isObject(value) ? "an object" : Array.isArray(value) ? "an array" : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
};

function checkShape(path: string, value: unknown, expected: Shape, largest: number): void {
  if (expected === "boolean") {
    if (typeof value !== "boolean") throw new WireError(path, shown(value), "true or false");
  } else if (expected === "number" || expected === "power of two") {
    // Masks of page sizes go up to 2^64: JSON has them exactly, as their low bits are zero.
    if (!isUnsigned(value, largest)) throw new WireError(path, shown(value), "an unsigned integer");
    if (expected === "power of two" && !isPowerOfTwo(value))
      throw new WireError(path, shown(value), "a power of two");
  } else if (isLimited(expected)) {
    if (!isUnsigned(value, expected.largest))
      throw new WireError(path, shown(value), `an unsigned integer up to ${expected.largest}`);
  } else {
    if (!isObject(value)) throw new WireError(path, shown(value), "a JSON object");
    for (const [key, below] of Object.entries(expected)) {
      if (Object.hasOwn(value, key) && value[key] !== undefined) {
        checkShape(`${path}.${key}`, value[key], below, largest);
      }
    }
  }
}

/** JSON nested this deep has no meaning here, and could exhaust the stack of whoever walks it. */
function checkDepth(text: string): void {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (quoted) {
      if (char === "\\") at++;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === "{" || char === "[") {
      if (++depth > MAX_DEPTH)
        throw new WireError(".data", "nested deeper", `at most ${MAX_DEPTH} levels of JSON`);
    } else if (char === "}" || char === "]") depth--;
  }
}

function parse(bytes: Uint8Array): VersionData {
  if (bytes.length > MAX_TEXT) throw new WireError(".data", `${bytes.length} bytes`, `at most ${MAX_TEXT}`);
  if (bytes[bytes.length - 1] !== 0)
    throw new WireError(".data", "not terminated", "it ends with a NUL byte");
  // A C string ends at its first NUL, for every other implementation too.
  const ended = bytes.subarray(0, bytes.indexOf(0));
  let json: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(ended);
    checkDepth(text);
    json = JSON.parse(text);
  } catch (error) {
    if (error instanceof WireError) throw error;
    throw new WireError(".data", "malformed", "UTF-8 encoded JSON");
  }
  checkShape(".data", json, shape, Number(2n ** 64n));
  return json as VersionData;
}

function format(data: VersionData): Uint8Array {
  checkShape(".data", data, shape, Number.MAX_SAFE_INTEGER);
  return new TextEncoder().encode(`${JSON.stringify(data)}\0`);
}

/** undefined where the message has no data: all capabilities then have their defaults. */
export const versionData: Tail<VersionData | undefined> = {
  tail: true,
  length: (value) => (value === undefined ? 0 : format(value).length),
  read: (payload, at) => (payload.length > at ? parse(payload.subarray(at)) : undefined),
  write: (payload, at, value) => {
    if (value !== undefined) payload.set(format(value), at);
  },
  describe: (value) => (value === undefined ? [] : describeJson("data", value)),
};

function describeJson(name: string, value: Json | undefined): DescribedField[] {
  if (value === undefined) return [];
  if (!isObject(value)) return [{ name, text: JSON.stringify(value) }];
  const fields = Object.entries(value).flatMap(([key, below]) => describeJson(key, below));
  return [{ name, text: fields.length ? "" : "{}", fields }];
}
