/**
 * What a built relay allocates, as JSON on stdout: bytes of heap growth for each REGION_READ that it forwards, and its
 * answer, pipelined and one at a time. Client, relay and server share a process, so no other memory is measured.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Task } from "@vfiokit/lockdep";
import { Relay, VfioUserServer } from "@vfiokit/user";
import { connectUnix } from "@vfiokit/user/linux";
import { ReadingClient, registersDevice } from "../../server/programs/reading-client.js";

const directory = mkdtempSync(join(tmpdir(), "vfiokit-forwarding-"));
const [serverPath, listenPath] = [join(directory, "server"), join(directory, "relay")];
const device = registersDevice();
const server = new VfioUserServer(device, { socketPath: serverPath });
await server.listen();
const relay = new Relay({ listenPath, serverPath });
relay.listen();
const client = new ReadingClient(connectUnix(listenPath));
await client.negotiate();

console.log(
  JSON.stringify({ pipelined: await client.growth(64, 500), single: await client.growth(1, 5000) }),
);
client.close();
await relay.close();
await server.close();
await device.close(new Task("end"));
rmSync(directory, { recursive: true });
