/** Damage to messages: to the fields that their structs declare, to their sizes, their descriptors, the bytes of a stream. */

import {
  Command,
  commandName,
  DeviceFeature,
  DmaLoggingRange,
  featureData,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  messages,
  SingleWrite,
  type Fields,
  type Struct,
} from "@vfiokit/user/wire";
import type { Request } from "./grammar.js";
import type { Random } from "./random.js";
import { fdKinds, type FdKind } from "./session.js";

export interface Mutated extends Request {
  readonly mutation: string;
}

interface Place {
  readonly name: string;
  readonly at: number;
  readonly size: number;
}

const values = [
  0n,
  1n,
  3n,
  4n,
  0x7fn,
  0xffn,
  4095n,
  4096n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_f000n,
];
const large = [0xffff_ffffn, 1n << 32n, (1n << 53n) - 1n, 1n << 63n, (1n << 64n) - 4096n, (1n << 64n) - 1n];
const interesting: readonly bigint[] = [...values, ...large];

/** The declared fields of a request. */
function places(message: Uint8Array): Place[] {
  const name = commandName(Header.decode(message).cmd);
  if (!name) return [];
  const { struct } = messages[name].request as { readonly struct: Struct<Fields> };
  const all = fieldsOf(struct, HEADER_SIZE);
  const end = message.length;
  if (name === "DEVICE_FEATURE" && end >= HEADER_SIZE + DeviceFeature.size) {
    const { flags } = DeviceFeature.decode(message.subarray(HEADER_SIZE));
    const data = featureData(flags, "request");
    if (data) {
      all.push(...fieldsOf(data, HEADER_SIZE + DeviceFeature.size));
      all.push(...fieldsOf(DmaLoggingRange, HEADER_SIZE + DeviceFeature.size + data.size));
    }
  }
  if (name === "REGION_WRITE_MULTI")
    for (let at = HEADER_SIZE + 8; at < end; at += SingleWrite.size) all.push(...fieldsOf(SingleWrite, at));
  return all.filter(({ at, size }) => at + size <= end);
}

function fieldsOf(struct: Struct<Fields>, base: number): Place[] {
  return Object.entries(struct.fields).flatMap(([name, field]) =>
    "tail" in field
      ? []
      : [{ name: `${struct.name}.${name}`, at: base + struct.offset[name]!, size: field.size }],
  );
}

function read(view: DataView, { at, size }: Place): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(view.getUint8(at + i));
  return value;
}

function write(view: DataView, { at, size }: Place, value: bigint): void {
  for (let i = 0; i < size; i++) view.setUint8(at + i, Number((value >> BigInt(8 * i)) & 0xffn));
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function withTrueSize(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  viewOf(bytes).setUint32(Header.offset.msg_size, bytes.length, true);
  return bytes;
}

type Mutation = (random: Random, request: Request) => Mutated | undefined;

const field: Mutation = (random, { bytes, fds }) => {
  const all = places(bytes);
  if (all.length === 0) return undefined;
  const place = random.pick(all);
  const changed = bytes.slice();
  const view = viewOf(changed);
  const before = read(view, place);
  const end = 1n << BigInt(8 * place.size);
  const after = [
    random.pick(interesting) % end,
    before ^ (1n << BigInt(random.below(8 * place.size))),
    (before + 1n) % end,
    (before + end - 1n) % end,
    (before * 2n) % end,
  ][random.below(5)]!;
  write(view, place, after);
  return { bytes: changed, fds, mutation: `${place.name} ${before} is ${after}` };
};

const header: Mutation = (random, { bytes, fds }) => {
  const changed = bytes.slice();
  const view = viewOf(changed);
  switch (random.below(4)) {
    case 0: {
      const cmd = random.pick([0, 14, 19, 0xffff, ...Object.values(Command)]);
      view.setUint16(Header.offset.cmd, cmd, true);
      return { bytes: changed, fds, mutation: `cmd is ${cmd}` };
    }
    case 1: {
      const flags = random.pick([1, 2, 15, HeaderFlags.NO_REPLY, HeaderFlags.ERROR, 0x21, 0x31, 0xffff_ff00]);
      view.setUint32(Header.offset.flags, flags, true);
      return { bytes: changed, fds, mutation: `flags are 0x${flags.toString(16)}` };
    }
    case 2:
      view.setUint32(Header.offset.error_no, 5, true);
      return { bytes: changed, fds, mutation: "error_no is 5" };
    default: {
      const id = random.pick([0, 1, 0xffff]);
      view.setUint16(Header.offset.msg_id, id, true);
      return { bytes: changed, fds, mutation: `msg_id is ${id}` };
    }
  }
};

const shorter: Mutation = (random, { bytes, fds }) => {
  if (bytes.length === HEADER_SIZE) return undefined;
  const length = HEADER_SIZE + random.below(bytes.length - HEADER_SIZE);
  return { bytes: withTrueSize(bytes.slice(0, length)), fds, mutation: `cut to ${length} bytes` };
};

const longer: Mutation = (random, { bytes, fds }) => {
  const more = random.bytes(1 + random.below(random.once(4) ? 4096 : 16));
  return {
    bytes: withTrueSize(Uint8Array.from([...bytes, ...more])),
    fds,
    mutation: `${more.length} bytes more`,
  };
};

/** The stream is not what it says: what follows is read as something else. */
const wrongSize: Mutation = (random, { bytes, fds }) => {
  const changed = bytes.slice();
  const { length } = bytes;
  const size = random.pick([0, 15, length - 1, length + 1, length + 16, 1 << 20, 0x7fff_ffff, 0xffff_ffff]);
  viewOf(changed).setUint32(Header.offset.msg_size, size, true);
  return { bytes: changed, fds, mutation: `msg_size is ${size}` };
};

const descriptors: Mutation = (random, { bytes, fds }) => {
  const any = (count: number): FdKind[] => Array.from({ length: count }, () => random.pick(fdKinds));
  if (fds.length > 0 && random.once(2)) {
    const others = random.once(2) ? fds.slice(1) : any(fds.length);
    return { bytes, fds: others, mutation: `descriptors: ${others.length} of ${fds.length}` };
  }
  const more = any(random.once(6) ? 17 + random.below(200) : 1 + random.below(4));
  return { bytes, fds: [...fds, ...more], mutation: `${more.length} more descriptors` };
};

const garbage: Mutation = (random, { fds }) => ({
  bytes: random.bytes(1 + random.below(64)),
  fds,
  mutation: "garbage",
});

const mutations: readonly Mutation[] = [
  ...Array<Mutation>(12).fill(field),
  ...Array<Mutation>(4).fill(header),
  ...Array<Mutation>(2).fill(shorter),
  ...Array<Mutation>(2).fill(longer),
  ...Array<Mutation>(3).fill(descriptors),
  wrongSize,
  garbage,
];
/** Those that leave the cutting of the stream into messages alone. */
const inStep = mutations.filter((one) => one !== wrongSize && one !== garbage);

/** Damages a request in one to three ways. @param stepped the stream stays one of messages */
export function mutate(random: Random, request: Request, stepped: boolean): Mutated {
  let mutated: Mutated | undefined;
  for (let left = 1 + random.below(3); left > 0; left--) {
    const before: Request = mutated ?? request;
    if (before.bytes.length < HEADER_SIZE) break;
    const after = random.pick(stepped ? inStep : mutations)(random, before);
    if (!after) continue;
    mutated = mutated ? { ...after, mutation: `${mutated.mutation}; ${after.mutation}` } : after;
  }
  return mutated ?? { ...request, mutation: "none" };
}
