/**
 * What a migration client and a receiver say to each other, every frame declared once as data (docs/migration-remote.md).
 * All numbers are little-endian.
 */

import { Errno, errnoName, VfioError, type ErrnoName } from "@vfiokit/core";
import {
  checkHandOverId,
  MigrationFlags,
  MigrationState,
  type MigrationStateName,
} from "@vfiokit/core/migration";
import { WireError } from "../../layout/errors.js";
import { bytes, bytesText, choice, flags, nameOf, u16, u32, u64, type Names } from "../../layout/field.js";
import { struct, type Struct, type StructValue, type Tail } from "../../layout/struct.js";
import { rest } from "../../layout/tail.js";
import { asVfioError } from "../../socket/errors.js";
import { EndpointGoneError } from "../errors.js";
import { MAX_NAME } from "./address.js";

/** Of the protocol: the highest version that this code speaks. */
export const VERSION = 1;

/** The first bytes of a HELLO. The zero and the line end catch what is text, or was made text on the way. */
export const MAGIC = Uint8Array.of(0x89, 0x56, 0x4b, 0x52, 0x0d, 0x0a, 0x1a, 0x00);

/** Bytes of the image in one DATA frame at most, before compression. */
export const MAX_DATA = 256 * 1024;
/** Bytes of a message at most, in UTF-8. */
const MAX_MESSAGE = 4096;

/**
 * MIGRATE: to be the target of a migration; a device that was given away before is taken for it. CHECK: to be looked at
 * only, whether it could be. RECOVER: to finish a hand-over that was left in the middle.
 */
export const Purpose = { MIGRATE: 0, CHECK: 1, RECOVER: 2 } as const;
export const Compression = { ZSTD: 1 << 0 } as const;
export const DataFlags = { COMPRESSED: 1 << 0 } as const;
/** DISCARD: the migration client has not heard whether the device is prepared, so it has not given the source away. */
export const ByeFlags = { DISCARD: 1 << 0 } as const;
/** GONE: the process that serves the device has ended, and the device with it. */
const FailureFlags = { GONE: 1 << 0 } as const;
export const HandOver = { SUPPORTED: 1 << 0 } as const;

/** UTF-8 to the end of the frame. */
function text(max: number): Tail<string> {
  const encode = (value: string) => new TextEncoder().encode(value);
  return {
    tail: true,
    length: (value) => encode(value).length,
    read(payload, at) {
      const held = payload.subarray(at);
      if (held.length > max) throw new WireError(".text", `${held.length} bytes`, `at most ${max}`);
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(held);
      } catch {
        throw new WireError(".text", bytesText(held), "UTF-8");
      }
    },
    write: (payload, at, value) => payload.set(encode(value), at),
    describe: (value) => [{ name: "text", text: value }],
  };
}

/** Of a session: what a migration client has to know to continue a broken connection. */
export const SESSION_SIZE = 16;
export const PROOF_SIZE = 32;

const Hello = struct("HELLO", {
  magic: bytes(MAGIC.length),
  /** The highest that the migration client speaks. */
  version: u16,
  purpose: choice(u16, Purpose as Names),
  /** What the migration client can do. */
  compression: flags(u16, Compression),
  reserved: u16,
  /** Random, the migration client's. */
  session: bytes(SESSION_SIZE),
  /** Zeroes: a new session; else the proof that the WELCOME of this session gave. */
  proof: bytes(PROOF_SIZE),
  /** Empty: the only device of the receiver. */
  device: text(MAX_NAME),
});

const Welcome = struct("WELCOME", {
  /** What both speak from here on. */
  version: u16,
  /** What both can do and the receiver wants. */
  compression: flags(u16, Compression),
  /** Bytes of DATA, uncompressed, that may be unacknowledged. */
  window: u32,
  /** Milliseconds in which a broken connection can be continued. */
  resumeWindow: u32,
  proof: bytes(PROOF_SIZE),
  /** The last request that was carried out; 0: none. */
  request: u32,
  /** The image that is being taken: the number of its BEGIN; 0: none. */
  image: u32,
  /** Its bytes so far. */
  taken: u64,
});

const Request = { request: u32 };
const HandOverRequest = { ...Request, migration: bytes(16) };

const Description = struct("DESCRIPTION", {
  ...Request,
  vendor: u16,
  device: u16,
  subsystemVendor: u16,
  subsystemDevice: u16,
  /** The dword at 08h of the configuration space: revision in the low byte. */
  classRevision: u32,
  migrationFlags: flags(u32, MigrationFlags),
  state: choice(u32, MigrationState as Names),
  handOver: flags(u32, HandOver),
  /** All ones: the device does not tell. */
  generation: u64,
});

const Data = struct("DATA", {
  image: u32,
  flags: flags(u32, DataFlags),
  /** Of its first byte in the image. */
  offset: u64,
  /** Bytes, uncompressed. */
  size: u32,
  data: rest,
});

/** Of HAND_OVER: those steps that a target has. */
export const HandOverStep = { status: 0, activate: 1, discard: 2 } as const;
export const HandOverPhase = { none: 0, prepared: 1, given: 2 } as const;
/** How the hand-over that was asked about has ended; unknown: it has not, or was forgotten. */
export const HandOverOutcome = { unknown: 0, activated: 1, discarded: 2, lost: 3, "taken back": 4 } as const;
export const HandOverFlags = { WAS_RESET: 1 << 0 } as const;

const HandOverReport = struct("HAND_OVER_REPORT", {
  ...Request,
  phase: choice(u16, HandOverPhase as Names),
  outcome: choice(u16, HandOverOutcome as Names),
  flags: flags(u32, HandOverFlags),
  state: choice(u32, MigrationState as Names),
  generation: u64,
  /** Of the device's process. */
  instance: bytes(8),
  /** That is under way; zeroes: none. */
  migration: bytes(16),
});

/** An errno of Linux, and what is to be told to the user. */
const failureFields = { errno: u32, flags: flags(u32, FailureFlags), message: text(MAX_MESSAGE) };
const Failed = struct("FAILED", { ...Request, ...failureFields });
const Refused = struct("REFUSED", failureFields);
type Failure = StructValue<typeof Refused>;

/** Every frame: its number, who sends it, and what it holds. */
export const frames = {
  HELLO: { type: 0x01, from: "client", payload: Hello },
  DESCRIBE: { type: 0x02, from: "client", payload: struct("DESCRIBE", Request) },
  BEGIN: { type: 0x03, from: "client", payload: struct("BEGIN", Request) },
  DATA: { type: 0x04, from: "client", payload: Data },
  PREPARE: { type: 0x05, from: "client", payload: struct("PREPARE", HandOverRequest) },
  ACTIVATE: { type: 0x06, from: "client", payload: struct("ACTIVATE", HandOverRequest) },
  DISCARD: { type: 0x07, from: "client", payload: struct("DISCARD", HandOverRequest) },
  BYE: { type: 0x08, from: "client", payload: struct("BYE", { flags: flags(u32, ByeFlags) }) },
  CLIENT_ALIVE: { type: 0x09, from: "client", payload: struct("CLIENT_ALIVE", {}) },
  HAND_OVER: {
    type: 0x0a,
    from: "client",
    /** Zeroes as the migration: none in particular. */
    payload: struct("HAND_OVER", {
      ...Request,
      step: choice(u32, HandOverStep as Names),
      migration: bytes(16),
    }),
  },
  WELCOME: { type: 0x81, from: "receiver", payload: Welcome },
  DESCRIPTION: { type: 0x82, from: "receiver", payload: Description },
  DONE: { type: 0x83, from: "receiver", payload: struct("DONE", Request) },
  FAILED: { type: 0x84, from: "receiver", payload: Failed },
  ACK: { type: 0x85, from: "receiver", payload: struct("ACK", { image: u32, taken: u64 }) },
  REFUSED: { type: 0x86, from: "receiver", payload: Refused },
  RECEIVER_ALIVE: { type: 0x87, from: "receiver", payload: struct("RECEIVER_ALIVE", {}) },
  HAND_OVER_REPORT: { type: 0x88, from: "receiver", payload: HandOverReport },
} as const;

export type Side = "client" | "receiver";
type Frames = typeof frames;
export type FrameName = keyof Frames;
export type FrameValue<N extends FrameName> = StructValue<Frames[N]["payload"]>;
/** A frame, by name. Byte arrays in it are views of the bytes that it was read from. */
export type Frame = { [N in FrameName]: { readonly frame: N; readonly value: FrameValue<N> } }[FrameName];

/** The 8 bytes before every frame's payload. */
export const Header = struct("header", { type: u16, reserved: u16, length: u32 });

/** Bytes of a payload at most: those of what has no end by itself. */
export const tailLimit: Partial<Record<FrameName, number>> = {
  HELLO: MAX_NAME,
  DATA: MAX_DATA,
  FAILED: MAX_MESSAGE,
  REFUSED: MAX_MESSAGE,
};

const namesByType = new Map(
  Object.entries(frames).map(([name, { type }]) => [type as number, name as FrameName]),
);

/**
 * The frame that a header announces.
 * @throws WireError: no frame that `from` sends, or more or fewer bytes than it can have
 */
export function readHeader(
  header: Uint8Array,
  from: Side,
): { readonly name: FrameName; readonly length: number } {
  const { type, reserved, length } = Header.decode(header);
  const name = namesByType.get(type);
  if (name === undefined || frames[name].from !== from)
    throw Header.error("type", `0x${type.toString(16)}`, `a frame that a ${from} sends`);
  if (reserved !== 0) throw Header.error("reserved", reserved, "zero");
  const least = frames[name].payload.size;
  const most = least + (tailLimit[name] ?? 0);
  if (length < least || length > most) {
    throw Header.error(
      "length",
      length,
      `${name} has ${least === most ? least : `${least} to ${most}`} bytes`,
    );
  }
  return { name, length };
}

/** @throws WireError: the payload breaks a rule of its frame */
export function decodeFrame(name: FrameName, payload: Uint8Array): Frame {
  const value = (frames[name].payload as Struct<Record<string, never>>).decode(payload);
  return { frame: name, value } as unknown as Frame;
}

/** A frame with its header. */
export function encodeFrame<N extends FrameName>(name: N, value: FrameValue<N>): Uint8Array<ArrayBuffer> {
  const { type, payload } = frames[name];
  const of = payload as unknown as Struct<Record<string, never>>;
  const length = of.length(value as never);
  const frame = new Uint8Array(Header.size + length);
  Header.write({ type, reserved: 0, length }, frame);
  of.write(value as never, frame.subarray(Header.size));
  return frame;
}

/** An error for the other side. */
export function failure(error: unknown): Failure {
  const { errno, detail } = asVfioError(error);
  return {
    errno,
    flags: error instanceof EndpointGoneError ? FailureFlags.GONE : 0,
    message: detail.slice(0, MAX_MESSAGE / 4),
  };
}

/** The other side's error. */
export function failureOf({ errno, flags, message }: Failure): VfioError {
  if (flags & FailureFlags.GONE) return new EndpointGoneError(message);
  const name = errnoName(errno);
  return new VfioError(name in Errno ? (name as ErrnoName) : "EIO", message);
}

/** A migration's id as bytes. @throws VfioError EINVAL: it is no id of a hand-over */
export function migrationBytes(id: string): Uint8Array {
  checkHandOverId(id);
  return Uint8Array.from(Buffer.from(id, "hex"));
}

export function migrationId(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** A 64-bit count that a number must hold. @throws VfioError EPROTO */
export function countOf(field: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new VfioError("EPROTO", `${field} ${value}: above 2^53`);
  return Number(value);
}

/** @throws VfioError EPROTO: it is no migration state */
export function stateOf(number: number): MigrationStateName {
  return nameIn(MigrationState, "state", number);
}

/** @throws VfioError EPROTO: none of `names` has this number */
export function nameIn<N extends string>(
  names: Readonly<Record<N, number>>,
  field: string,
  number: number,
): N {
  const name = nameOf(names, number);
  if (name === undefined) throw new VfioError("EPROTO", `${field} ${number}: no such thing`);
  return name as N;
}
