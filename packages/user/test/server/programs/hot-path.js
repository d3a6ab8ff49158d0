/**
 * What the hot path of a built server costs, as JSON on stdout: bytes of heap growth for each REGION_READ, pipelined
 * and one at a time, and the CPU use of an idle second in terms of a busy one. Client and server share a process and
 * its reactor, so nothing else is measured. A program of its own, since a test runner's transformed code differs.
 */
import { Task } from "@vfiokit/lockdep";
import { PciDevice, definePciDevice, io } from "@vfiokit/core";
import { VfioUserServer } from "@vfiokit/user";
import { reactor, Receiver, sendBytes, socketPair, StableBuffer, WOULD_BLOCK } from "@vfiokit/user/linux";
import { encodeRequest } from "@vfiokit/user/wire";

const REPLY_BYTES = 36;

const registers = new Uint32Array(16);
const device = new PciDevice(
  definePciDevice({
    name: "registers",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [io({ size: 0x40 })],
    create: () => ({
      read: (_bar, offset) => registers[offset >> 2] ?? 0,
      write: (_bar, offset, value) => void (registers[offset >> 2] = value),
      reset: () => void registers.fill(0),
    }),
  }),
);
const [client, theirs] = socketPair();
const server = new VfioUserServer(device, { fd: theirs.release() });
await server.listen();

const replies = new StableBuffer(1 << 16);
const receiver = new Receiver(replies);
let requests = stable(encodeRequest("VERSION", 1, { major: 0, minor: 1, data: undefined }));
let left = 0;
let expected = 0;
/** @type {() => void} */
let done = () => undefined;

const watch = reactor.add(client, {
  onReadable() {
    const count = receiver.receive(client, 0, 1 << 16);
    if (count === WOULD_BLOCK) return false;
    expected -= count;
    if (expected > 0) return true;
    if (left > 0) send();
    else done();
    return true;
  },
});
await batches(1); // VERSION

function send() {
  left--;
  expected = (requests.bytes.length / 32) * REPLY_BYTES;
  sendBytes(client, requests, 0, requests.bytes.length);
}

/** @param {number} count @returns {Promise<void>} */
function batches(count) {
  left = count;
  return new Promise((resolve) => {
    done = resolve;
    send();
  });
}

/** @param {Uint8Array} bytes */
function stable(bytes) {
  const buffer = new StableBuffer(bytes.length);
  buffer.bytes.set(bytes);
  return buffer;
}

/** Bytes that the heap grows by for each message. @param {number} depth @param {number} count */
async function growth(depth, count) {
  const read = encodeRequest("REGION_READ", 1, { region: 0, offset: 0n, count: 4 });
  requests = stable(Buffer.concat(Array.from({ length: depth }, () => read)));
  await batches(4 * count); // compiles what there is to compile
  const grown = [];
  for (let i = 0; i < 15; i++) {
    const before = process.memoryUsage().heapUsed;
    await batches(count);
    const bytes = process.memoryUsage().heapUsed - before;
    if (bytes > 0) grown.push(bytes / (depth * count)); // less than nothing: garbage was collected
  }
  return Math.min(...grown);
}

const pipelined = await growth(64, 500);
const single = await growth(1, 5000);

/** CPU time in microseconds since the argument. @param {NodeJS.CpuUsage} since */
function cpu(since) {
  const { user, system } = process.cpuUsage(since);
  return user + system;
}
let mark = process.cpuUsage();
let time = performance.now();
await batches(20_000);
const busy = cpu(mark) / (performance.now() - time);
await new Promise((resolve) => setTimeout(resolve, 20)); // what it polls for before it sleeps
mark = process.cpuUsage();
time = performance.now();
await new Promise((resolve) => setTimeout(resolve, 1000));
const idle = cpu(mark) / (performance.now() - time);

console.log(JSON.stringify({ pipelined, single, idle: idle / busy }));
watch.remove();
client.close();
await server.ended;
await device.close(new Task("end"));
