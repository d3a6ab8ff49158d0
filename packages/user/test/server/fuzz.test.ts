import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { join } from "node:path";
import { MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { createEventFd, createMemfd, type Fd } from "@vfiokit/user/linux";
import {
  Command,
  encodeReply,
  encodeRequest,
  Feature,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigState,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  IrqSetFlags,
} from "@vfiokit/user/wire";
import { expect, it } from "vitest";
import { VfioUserServer } from "../../src/server/index.js";
import { kernelResources, ownResources, temporaryDirectory } from "../linux/support.js";
import { BAR_REGISTERS, connectRaw, RawClient, testDevice, VALUE } from "./support.js";

const MESSAGES = 200_000;
const BATCH = 400;
const SEED = Number(process.env["VFIOKIT_FUZZ_SEED"] ?? 20251120);
const SYNC_ID = 0xffff;

/** mulberry32: 32 bits of state are enough for this, and a seed repeats a run. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}
const rand = random(SEED);
const pick = <T>(list: readonly T[]): T => list[rand(list.length)]!;

/** Replies by command. */
const answers: Record<number, { done: number; refused: number }> = {};

/** Valid requests of every command, the more likely to be carried out the less they are mutated. */
const corpus: (() => Uint8Array)[] = [
  () => encodeRequest("DEVICE_GET_INFO", rand(4), { argsz: 16, flags: 0, num_regions: 0, num_irqs: 0 }),
  () =>
    encodeRequest("DEVICE_GET_REGION_INFO", rand(4), {
      argsz: pick([32, 64, 4096]),
      flags: 0,
      index: rand(10),
      cap_offset: 0,
      size: 0n,
      offset: 0n,
    }),
  () =>
    encodeRequest("DEVICE_GET_REGION_IO_FDS", rand(4), { argsz: 512, flags: 0, index: rand(3), count: 0 }),
  () => encodeRequest("DEVICE_GET_IRQ_INFO", rand(4), { argsz: 16, flags: 0, index: rand(6), count: 0 }),
  () => {
    const count = 1 + rand(4);
    const data = pick([IrqSetFlags.DATA_NONE, IrqSetFlags.DATA_BOOL, IrqSetFlags.DATA_EVENTFD]);
    const action = pick([IrqSetFlags.ACTION_MASK, IrqSetFlags.ACTION_UNMASK, IrqSetFlags.ACTION_TRIGGER]);
    const bools = data === IrqSetFlags.DATA_BOOL ? Uint8Array.from({ length: count }, () => rand(2)) : none;
    const flags = data | action;
    return encodeRequest("DEVICE_SET_IRQS", rand(4), {
      argsz: 20 + bools.length,
      flags,
      index: rand(5),
      start: rand(2),
      count,
      data: bools,
    });
  },
  () =>
    encodeRequest("REGION_READ", rand(4), { region: rand(9), offset: BigInt(rand(256)), count: rand(300) }),
  () => {
    const count = rand(9);
    const data = Uint8Array.from({ length: count }, () => rand(256));
    return encodeRequest("REGION_WRITE", rand(4), {
      region: rand(9),
      offset: BigInt(rand(256)),
      count,
      data,
    });
  },
  () => {
    const wrs = Array.from({ length: rand(4) }, () => ({
      region: rand(9),
      offset: BigInt(rand(64)),
      count: rand(9),
      data: new Uint8Array(8),
    }));
    return encodeRequest("REGION_WRITE_MULTI", rand(4), { wr_cnt: BigInt(wrs.length), wrs });
  },
  () =>
    encodeRequest("DMA_MAP", rand(4), {
      argsz: 32,
      flags: 1 + rand(3),
      offset: BigInt(4096 * rand(3)),
      address: BigInt(4096 * rand(64)),
      size: BigInt(4096 * (1 + rand(3))),
    }),
  () =>
    encodeRequest("DMA_UNMAP", rand(4), {
      argsz: 24,
      flags: 0,
      address: BigInt(4096 * rand(64)),
      size: BigInt(4096 * (1 + rand(8))),
    }),
  // Rarely a reset, which would keep everything else from getting far.
  () => (rand(16) === 0 ? encodeRequest("DEVICE_RESET", rand(4), {}) : setState(rand(8))),
  () => setState(pick([MigrationState.STOP_COPY, MigrationState.RESUMING])),
  () => {
    const number = pick(Object.values(Feature));
    const flags = number | pick([FeatureFlags.GET, FeatureFlags.SET, FeatureFlags.PROBE]);
    const data = pick([
      none,
      FeatureMigState.encode({ device_state: rand(8), data_fd: -1 }),
      FeatureDmaLoggingControl.encode({ page_size: 4096n, num_ranges: 0, reserved: 0, ranges: [] }),
      FeatureDmaLoggingReportRequest.encode({ iova: 0n, length: 0x40000n, page_size: 4096n }),
    ]);
    return encodeRaw(Command.DEVICE_FEATURE, [...u32(64 + data.length), ...u32(flags), ...data]);
  },
  () => encodeRequest("MIG_DATA_READ", rand(4), { argsz: 1024, size: rand(1000) }),
  () => {
    const data = rand(4) > 0 ? image : Uint8Array.from({ length: rand(100) }, () => rand(256));
    return encodeRequest("MIG_DATA_WRITE", rand(4), { argsz: 8 + data.length, size: data.length, data });
  },
  () => encodeReply("DMA_READ", rand(4), { address: 0n, count: 4n, data: new Uint8Array(4) }),
  () => encodeRequest("VERSION", rand(4), { major: 0, minor: 1, data: undefined }),
  () =>
    encodeRaw(
      rand(24),
      Array.from({ length: rand(80) }, () => rand(256)),
    ),
];

const none = new Uint8Array();
/** What a device of this kind migrates. */
let image: Uint8Array = none;
const setState = (state: number): Uint8Array =>
  encodeRequest("DEVICE_FEATURE", rand(4), {
    argsz: 16,
    flags: Feature.MIG_DEVICE_STATE | FeatureFlags.SET,
    data: FeatureMigState.encode({ device_state: state, data_fd: -1 }),
  });
const u32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
function encodeRaw(cmd: number, payload: readonly number[]): Uint8Array {
  const message = new Uint8Array(HEADER_SIZE + payload.length);
  const fields = { msg_id: rand(4), cmd, msg_size: message.length, flags: 0, error_no: 0 };
  Header.write(fields, message.subarray(0, HEADER_SIZE));
  message.set(payload, HEADER_SIZE);
  return message;
}

const interesting = [0, 1, 4, 0x7f, 0xff, 0x1000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_f000, 0xffff_ffff];

/** Damages anything but the size, which stays true. */
function mutate(message: Uint8Array): Uint8Array {
  let bytes = message;
  for (let n = rand(4); n > 0; n--) {
    const kind = rand(4);
    if (kind === 0 && bytes.length > HEADER_SIZE)
      bytes = bytes.slice(0, HEADER_SIZE + rand(bytes.length - HEADER_SIZE));
    else if (kind === 1)
      bytes = Uint8Array.from([...bytes, ...Array.from({ length: rand(16) }, () => rand(256))]);
    else if (kind === 2) bytes[rand(bytes.length)]! ^= 1 << rand(8);
    else if (bytes.length >= HEADER_SIZE + 4) {
      const at = HEADER_SIZE + 4 * rand((bytes.length - HEADER_SIZE) >> 2);
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, pick(interesting), true);
    }
  }
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(Header.offset.msg_size, bytes.length, true);
  if (rand(8) === 0) bytes[Header.offset.flags]! |= HeaderFlags.NO_REPLY;
  return bytes;
}

it(
  `${MESSAGES} random and mutated messages: no crash, no growth, a working card (seed ${SEED})`,
  { timeout: 120_000 },
  async () => {
    const before = ownResources();
    const path = join(temporaryDirectory(), "fuzz.sock");
    const bugs: string[] = [];
    const { device, fn } = testDevice();
    // The one bug that the test device has is not what this looks for.
    const read = fn.read.bind(fn);
    fn.read = (bar, offset) => (offset === VALUE ? read(bar, offset) : 0);
    const server = new VfioUserServer(device, {
      socketPath: path,
      dmaTimeout: 5,
      log: (level, text) => level === "error" && bugs.push(text),
    });
    await server.listen();

    image = await takeImage();
    const guest = createMemfd("guest", 4 * 4096);
    const event = createEventFd();
    const collect = exposeGc();
    const kernel = { fds: 0, maps: 0 };
    let heap = 0;
    let client: RawClient | undefined;
    for (let sent = 0; sent < MESSAGES;) {
      client ??= await connect(path);
      sent += await batch(client, [guest, event]);
      if (rand(4) === 0) void Promise.resolve(dmaAnywhere(fn)).catch(() => undefined);
      const alive = await synchronize(client);
      if (alive && rand(20) > 0) continue;
      client.close();
      client = undefined;
      while (server.connected) await new Promise(setImmediate);
      const { fds, maps } = kernelResources();
      if (kernel.fds === 0) Object.assign(kernel, { fds: fds.length, maps });
      expect({ fds: fds.length, maps }).toEqual(kernel);
      if (heap === 0 && sent > MESSAGES / 4) heap = await collect();
    }
    client?.close();
    while (server.connected) await new Promise(setImmediate);
    expect(bugs).toEqual([]);
    // It tried something: every command was carried out, and not only refused.
    const fromServer: readonly number[] = [Command.DMA_READ, Command.DMA_WRITE];
    for (const cmd of Object.values(Command).filter((cmd) => !fromServer.includes(cmd))) {
      if (cmd !== Command.VERSION) expect(answers[cmd]!.done, `command ${cmd} done`).toBeGreaterThan(50);
    }
    expect((await collect()) - heap).toBeLessThan(2_000_000);

    const last = await connect(path);
    await last.call("DEVICE_RESET", {});
    await last.write(BAR_REGISTERS, VALUE, 0xc0ffee);
    expect(await last.read(BAR_REGISTERS, VALUE, 4)).toBe(0xc0ffee);
    last.close();
    await server.close();
    await device.close(new Task("test"));
    guest.close();
    event.close();
    expect(ownResources()).toEqual(before);
  },
);

async function takeImage(): Promise<Uint8Array> {
  const task = new Task("image");
  const { device } = testDevice();
  await device.migration!.setState(task, MigrationState.STOP_COPY);
  const bytes = new Uint8Array(65536);
  const length = await device.migration!.readData(task, bytes);
  await device.close(task);
  return bytes.slice(0, length);
}

async function connect(path: string): Promise<RawClient> {
  const client = connectRaw(path);
  await client.negotiate();
  return client;
}

/** Sends some messages, the last now and then with a wrong size. Returns how many. */
async function batch(client: RawClient, fds: readonly Fd[]): Promise<number> {
  const messages: Uint8Array[] = [];
  const flush = () => client.send(Buffer.concat(messages.splice(0)));
  try {
    for (let i = 0; i < BATCH; i++) {
      const message = mutate(pick(corpus)());
      if (rand(10) > 0) {
        messages.push(message);
        continue;
      }
      await flush();
      await client.send(
        message,
        Array.from({ length: rand(10) }, () => pick(fds).number),
      );
    }
    if (rand(10) === 0) {
      const torn = mutate(pick(corpus)());
      new DataView(torn.buffer, torn.byteOffset).setUint32(Header.offset.msg_size, pick(interesting), true);
      messages.push(torn);
      await flush();
      client.close();
    }
    await flush();
  } catch (error) {
    if (!/EPIPE|ECONNRESET|closed/.test(String(error))) throw error;
  }
  return BATCH;
}

/** Takes replies until that of a message sent now. Returns whether it came. */
async function synchronize(client: RawClient): Promise<boolean> {
  if (client.fd.closed) return false;
  try {
    await client.send(encodeRequest("REGION_READ", SYNC_ID, { region: 7, offset: 0n, count: 2 }));
    for (;;) {
      const reply = await client.nextOrEnd();
      if (!reply) return false;
      for (const fd of reply.fds) fd.close();
      const outcome = (answers[reply.cmd] ??= { done: 0, refused: 0 });
      if (reply.flags & HeaderFlags.ERROR) outcome.refused++;
      else outcome.done++;
      if (reply.id === SYNC_ID) return true;
    }
  } catch (error) {
    if (!/EPIPE|ECONNRESET/.test(String(error))) throw error;
    return false;
  }
}

function dmaAnywhere(fn: ReturnType<typeof testDevice>["fn"]): void | Promise<void> {
  const { dma } = fn.host;
  const address = rand(64 * 4096);
  try {
    return rand(2) ? dma.read(address, new Uint8Array(64)) : dma.write(address, new Uint8Array(64));
  } catch {
    // Not mapped, or not that way.
  }
}

/** Bytes in use. V8 frees buffers a while after it found them dead: the least of several looks is what is held. */
function exposeGc(): () => Promise<number> {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  return async () => {
    let least = Infinity;
    for (let look = 0; look < 10; look++) {
      gc();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      least = Math.min(least, heapUsed + arrayBuffers);
      await new Promise(setImmediate);
    }
    return least;
  };
}
