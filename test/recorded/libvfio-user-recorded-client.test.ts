/** Every byte that libvfio-user's sample client once sent, against two of our servers. */

import { ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { createEventFd, drainEventFd, Fd } from "@vfiokit/user/linux";
import { Command, commandName, encodeRequest, HEADER_SIZE, messageType, Type } from "@vfiokit/user/wire";
import { VfioUserServer } from "../../packages/user/src/server/index.js";
import { connectRaw, CONFIG, type RawClient } from "../../packages/user/test/server/support.js";
import { headerOf, recording, type Recorded } from "./recording.js";
import { sampleDevice } from "./sample-device.js";

const RECORDED = recording("libvfio-user-sample-client.txt");
const PAGE = 4096;
/** The sample's pages of memory, two for each descriptor of a message. */
const PAGES = 16;
/** In the reply to a MIG_DATA_READ or _WRITE, before its data: argsz and size. */
const MIG_DATA = HEADER_SIZE + 8;
/** I/O and memory decoding. The sample's BARs need neither; ours do. */
const DECODE = Uint8Array.of(3, 0);

async function serve(path: string): Promise<void> {
  const device = sampleDevice();
  const server = new VfioUserServer(device, { socketPath: path });
  await server.listen();
  onTestFinished(async () => {
    await server.close();
    await device.close(new Task("test"));
  });
}

function memoryFile(folder: string): Fd {
  const fd = new Fd(openSync(join(folder, "memory"), "wx+"));
  ftruncateSync(fd.number, PAGES * PAGE);
  return fd;
}

/** Requests of the client with their answers: all but what the server itself asks. */
function* exchanges(connection: string): Generator<{ request: Recorded; reply: Recorded }> {
  const waiting: Recorded[] = [];
  for (const message of RECORDED) {
    const isRequest = messageType(new DataView(message.bytes.buffer), 0) === Type.COMMAND;
    if (message.connection !== connection || isRequest !== message.toServer) continue;
    if (isRequest) waiting.push(message);
    else {
      const { id, cmd } = headerOf(message.bytes);
      const at = waiting.findIndex(({ bytes }) => headerOf(bytes).id === id && headerOf(bytes).cmd === cmd);
      yield { request: waiting.splice(at, 1)[0]!, reply: message };
    }
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

it("gets from our servers what it got from its own, message by message, and migrates the device", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  using memory = memoryFile(folder);
  using interrupt = createEventFd();
  const image: Uint8Array[] = [];
  let interrupts = 0;

  async function replay(connection: string): Promise<void> {
    const path = join(folder, connection);
    await serve(path);
    const client: RawClient = connectRaw(path);
    onTestFinished(() => client.close());
    let loaded = false;
    for (const { request, reply } of exchanges(connection)) {
      const { cmd } = headerOf(request.bytes);
      if (cmd === Command.MIG_DATA_WRITE) {
        // The image is our device's. Of what was read in PRE_COPY the sample makes no use; ours is one with the rest.
        if (!loaded) for (const data of image) await load(client, data);
        loaded = true;
        continue;
      }
      // The sample knows how long its image is. Ours is longer.
      if (connection === "s" && endsReading(request)) while (await readOn(client, image));
      const fd = cmd === Command.DMA_MAP ? memory : interrupt;
      const got = await client.exchange(request.bytes, request.fds > 0 ? [fd.number] : []);
      const where = `${connection} ${commandName(cmd)!} ${hex(request.bytes.subarray(HEADER_SIZE, 56))}`;
      expect(headerOf(got.bytes), where).toEqual(headerOf(reply.bytes));
      // What the two say of themselves differs in length.
      if (cmd !== Command.VERSION) expect(got.bytes.length, where).toBe(reply.bytes.length);
      if (sameBytes(cmd, request)) expect(hex(got.bytes), where).toBe(hex(reply.bytes));
      for (const one of got.fds) one.close();
      if (cmd === Command.MIG_DATA_READ) keep(got.bytes, image);
      if (cmd === Command.DEVICE_RESET) await client.exchange(decode());
      if (cmd === Command.REGION_WRITE) interrupts += drainEventFd(interrupt);
    }
  }

  await replay("s");
  expect(interrupts).toBe(1);
  await replay("d");
  // The line is up, and its new owner delivers it to the client's eventfd.
  expect(drainEventFd(interrupt)).toBe(1);
});

/** Keeps what a reply to MIG_DATA_READ has. @returns whether there is any */
function keep(reply: Uint8Array, image: Uint8Array[]): boolean {
  const size = new DataView(reply.buffer, reply.byteOffset).getUint32(HEADER_SIZE + 4, true);
  if (size > 0) image.push(reply.slice(MIG_DATA, MIG_DATA + size));
  return size > 0;
}

async function readOn(client: RawClient, image: Uint8Array[]): Promise<boolean> {
  const size = 1024;
  const { bytes } = await client.exchange(encodeRequest("MIG_DATA_READ", 0x2022, { argsz: 8 + size, size }));
  return keep(bytes, image);
}

/** DEVICE_FEATURE: to STOP. */
function endsReading({ bytes }: Recorded): boolean {
  if (headerOf(bytes).cmd !== Command.DEVICE_FEATURE || bytes.length !== 32) return false;
  return new DataView(bytes.buffer).getUint32(HEADER_SIZE + 8, true) === MigrationState.STOP;
}

async function load(client: RawClient, data: Uint8Array): Promise<void> {
  const payload = { argsz: 8 + data.length, size: data.length, data };
  const { bytes } = await client.exchange(encodeRequest("MIG_DATA_WRITE", 0x2023, payload));
  expect(headerOf(bytes)).toMatchObject({ cmd: Command.MIG_DATA_WRITE, errno: 0 });
}

function decode(): Uint8Array {
  return encodeRequest("REGION_WRITE", 0xc0de, { offset: 4n, region: CONFIG, count: 2, data: DECODE });
}

/** Answers that say nothing of the device's own. */
function sameBytes(cmd: number, { bytes }: Recorded): boolean {
  switch (cmd) {
    case Command.DMA_MAP:
    case Command.DMA_UNMAP:
    case Command.DEVICE_SET_IRQS:
    case Command.REGION_WRITE:
    case Command.DEVICE_RESET:
      return true;
    // A migration state; starting and stopping to log. What is dirty is the device's.
    case Command.DEVICE_FEATURE:
      return bytes.length !== 48;
    default:
      return false;
  }
}
