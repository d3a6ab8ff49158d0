/**
 * A server process of a serial card whose far end can be moved with it.
 *
 *   moving-card.js SOCKET HUB [newer]
 *
 * SOCKET: where the card is served, with its control socket beside it. HUB: the test's socket, which is the far end of
 * every card (moving-line.ts): it gives a byte to one card at a time, and takes back what a card has not taken. So no
 * byte is anywhere but in the card's state or at the hub. `newer`: a card whose state has a newer version.
 */
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { PciDevice, sections } from "@vfiokit/core";
import { serialCard } from "@vfiokit/devices";
import { AdminServer, DeviceAdmin, VfioUserServer } from "@vfiokit/user";
import { memfdMemory } from "@vfiokit/user/linux";

/** @import { Section } from "@vfiokit/core" */
/** @import { SerialBackend, SerialWire } from "@vfiokit/devices" */

const [socketPath = "", hubPath = "", newer] = process.argv.slice(2);

const hub = connect(hubPath);
/** @param {object} line */
const say = (line) => hub.write(`${JSON.stringify(line)}\n`);
say({ hello: socketPath });

/** @type {SerialWire} */
let wire;
/** @type {number[]} */
let sent = [];
/** From the hub, and not yet taken by the card. */
let offered = Buffer.alloc(0);
let signals = 0;
let unmasks = 0;

function flushSent() {
  if (sent.length > 0) say({ sent: Buffer.from(sent).toString("base64") });
  sent = [];
}

function offer() {
  const taken = wire.receive(offered, 0, offered.length);
  offered = offered.subarray(taken);
  if (taken > 0) say({ taken });
}

/** @type {SerialBackend} */
const backend = {
  attach: (attached) => void (wire = attached),
  send(character) {
    if (sent.length === 0) setImmediate(flushSent);
    sent.push(character);
    return true;
  },
  ready: offer,
};

createInterface({ input: hub }).on("line", (line) => {
  /** @type {unknown} */
  const message = JSON.parse(line);
  const { data, flush } = /** @type {{ data?: string, flush?: boolean }} */ (message);
  if (data !== undefined) {
    offered = Buffer.concat([offered, Buffer.from(data, "base64")]);
    offer();
  }
  if (flush) {
    offered = Buffer.alloc(0);
    flushSent();
    say({ flushed: true, signals, unmasks });
  }
});

/**
 * A section with a field that came with version 2: the state of a card of tomorrow.
 *
 * @param {Section} section
 * @returns {Section}
 */
function withNewField(section) {
  let added = 0;
  return {
    version: 2,
    optional: false,
    encode() {
      const old = section.encode();
      // The oldest version that loses nothing.
      if (added === 0 || !old) return old;
      return { version: 2, bytes: Uint8Array.of(...old.bytes, added) };
    },
    decode(bytes, version) {
      const length = version === 2 ? bytes.length - 1 : bytes.length;
      const commit = section.decode(bytes.subarray(0, length), section.version);
      return () => {
        commit();
        added = bytes[length] ?? 0;
      };
    },
    decodeAbsent: () => section.decodeAbsent(),
  };
}

const definition = serialCard({ backend });
const device = new PciDevice(
  newer
    ? {
        ...definition,
        create(host) {
          const card = definition.create(host);
          const { uart } = /** @type {{ uart: { state: Section } }} */ (/** @type {unknown} */ (card));
          return Object.assign(card, { state: sections({ uart: withNewField(uart.state) }) });
        },
      }
    : definition,
  { memory: memfdMemory },
);

// Counts what goes to the client's eventfd, and how often the client is ready for more.
const { intx } = device.irqs;
const unmask = intx.unmask.bind(intx);
intx.unmask = () => {
  unmasks++;
  unmask();
};
const assign = intx.assign.bind(intx);
/** @type {typeof assign} */
intx.assign = (vector, trigger) => {
  const signal = () => {
    signals++;
    trigger?.signal();
  };
  assign(vector, trigger && { signal, close: () => trigger.close() });
};

const server = new VfioUserServer(device, { socketPath });
await server.listen();
new AdminServer(new DeviceAdmin(device, server), { socketPath: `${socketPath}.ctl` }).listen();
console.log("serving");
