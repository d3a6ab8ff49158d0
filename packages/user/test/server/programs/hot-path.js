/**
 * What the hot path of a built server costs, as JSON on stdout: bytes of heap growth for each REGION_READ, pipelined
 * and one at a time, and the CPU use of an idle second in terms of a busy one. Client and server share a process and
 * its reactor, so nothing else is measured. A program of its own, since a test runner's transformed code differs.
 */
import { Task } from "@vfiokit/lockdep";
import { VfioUserServer } from "@vfiokit/user";
import { socketPair } from "@vfiokit/user/linux";
import { ReadingClient, registersDevice } from "./reading-client.js";

const device = registersDevice();
const [ours, theirs] = socketPair();
const server = new VfioUserServer(device, { fd: theirs.release() });
await server.listen();
const client = new ReadingClient(ours);
await client.negotiate();

const pipelined = await client.growth(64, 500);
const single = await client.growth(1, 5000);

/** CPU time in microseconds since the argument. @param {NodeJS.CpuUsage} since */
function cpu(since) {
  const { user, system } = process.cpuUsage(since);
  return user + system;
}
let mark = process.cpuUsage();
let time = performance.now();
await client.batches(20_000);
const busy = cpu(mark) / (performance.now() - time);
await new Promise((resolve) => setTimeout(resolve, 20)); // what it polls for before it sleeps
mark = process.cpuUsage();
time = performance.now();
await new Promise((resolve) => setTimeout(resolve, 1000));
const idle = cpu(mark) / (performance.now() - time);

console.log(JSON.stringify({ pipelined, single, idle: idle / busy }));
client.close();
await server.ended;
await device.close(new Task("end"));
