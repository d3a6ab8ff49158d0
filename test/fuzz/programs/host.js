import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { PciDevice } from "@vfiokit/core";
import { counterCard, loopbackBackend, memoryCard, serialCard } from "@vfiokit/devices";
import { AdminServer, DeviceAdmin, Relay, RelayControl, VfioUserServer } from "@vfiokit/user";
import { memfdMemory, openFds, openMappings } from "@vfiokit/user/linux";

/**
 * Serves what the arguments say, each as KIND=PATH, in one process: serial, counter, memory-card; relay=PATH,SERVER is a
 * relay. Started with an IPC channel: says "ready", what goes wrong, and what it holds when it is asked. No handler keeps
 * the process alive: what nobody catches ends it.
 */

/** For an answer to DMA that does not come, or a server that does not answer. Milliseconds. */
const PEER_MS = 150;
const MEMORY_BYTES = 64 * 1024;
const DIRTY_RATE = 64 * 1024;

/** @type {Record<string, () => import("@vfiokit/core").PciDeviceDefinition>} */
const definitions = {
  serial: () => serialCard({ backend: loopbackBackend() }),
  counter: () =>
    /** @type {import("@vfiokit/core").PciDeviceDefinition} */ (
      counterCard({ functions: 1, scratch: "sparse" })[0]
    ),
  "memory-card": () => memoryCard({ size: MEMORY_BYTES, dirtyRate: DIRTY_RATE }),
};

setFlagsFromString("--expose-gc");
/** @type {unknown} */
const exposed = runInNewContext("gc");
const gc = /** @type {() => void} */ (exposed);

/** @param {object} message */
const say = (message) => process.send?.(message);
/** @type {import("@vfiokit/user").Log} */
const log = (level, message) => {
  if (level === "error") say({ bug: message });
};

for (const word of process.argv.slice(2)) {
  const [kind = "", at = ""] = word.split("=");
  if (kind === "relay") {
    const [listenPath = "", serverPath = ""] = at.split(",");
    const relay = new Relay({ listenPath, serverPath, log });
    new RelayControl(relay, `${listenPath}.ctl`).listen();
    relay.listen();
    continue;
  }
  const definition = definitions[kind];
  if (!definition) throw new Error(`no device ${kind}`);
  const device = new PciDevice(definition(), {
    memory: memfdMemory,
    warn: (message) => log("warn", message),
    onFault: (message) => log("error", message),
  });
  const server = new VfioUserServer(device, { socketPath: at, log, dmaTimeout: PEER_MS });
  await server.listen();
  new AdminServer(new DeviceAdmin(device, server), { socketPath: `${at}.ctl`, log }).listen();
}

/** V8 frees buffers a while after it found them dead: the least of several looks is what is held. */
const LOOKS = 10;
const LOOK_MS = 30;

process.on("message", () => {
  let heap = Infinity;
  let looks = 0;
  const timer = setInterval(() => {
    gc();
    const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
    heap = Math.min(heap, heapUsed + arrayBuffers);
    if (++looks < LOOKS) return;
    clearInterval(timer);
    say({ measured: { heap, rss, fds: openFds(), mappings: openMappings() } });
  }, LOOK_MS);
});
process.on("disconnect", () => process.exit());
say({ ready: true });
