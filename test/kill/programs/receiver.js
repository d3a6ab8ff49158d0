import { join } from "node:path";
import { localDevice, Receiver } from "@vfiokit/user";

/** Receives for COUNT devices of the server at DIRECTORY: d0 and so on. Says "ready PORT". */

const [, , directory, count] = process.argv;
const receiver = new Receiver({
  host: "127.0.0.1",
  port: 0,
  security: { kind: "insecure-loopback" },
  resumeWindow_ms: 100,
  devices: new Map(
    Array.from({ length: Number(count) }, (_, i) => [
      `d${i}`,
      localDevice(join(/** @type {string} */ (directory), String(i))),
    ]),
  ),
});
const { port } = await receiver.listen();
console.log(`ready ${port}`);
