/** Serves a device with one register BAR at the path given as argument, until SIGTERM. */
import { Task } from "@vfiokit/lockdep";
import { PciDevice, definePciDevice, io } from "@vfiokit/core";
import { VfioUserServer } from "@vfiokit/user";

const registers = new Uint32Array(16);
const device = new PciDevice(
  definePciDevice({
    name: "bench",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [io({ size: 0x40 })],
    create: () => ({
      read: (_bar, offset) => registers[offset >> 2] ?? 0,
      write: (_bar, offset, value) => void (registers[offset >> 2] = value),
      reset: () => void registers.fill(0),
    }),
  }),
);
const server = new VfioUserServer(device, { socketPath: process.argv[2] ?? "" });
await server.listen();
console.log("ready");
process.once("SIGTERM", () => {
  void server.close().then(() => device.close(new Task("bench")));
});
