import { PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { VfioUserServer } from "@vfiokit/user";
import { gpioCard, type Gpio } from "./gpio.js";

const [socketPath = "gpio.sock"] = process.argv.slice(2);

let gpio!: Gpio;
const card = new PciDevice(gpioCard((made) => (gpio = made)));
const server = new VfioUserServer(card, {
  socketPath,
  log: (level, message) => console.error(`${level}: ${message}`),
});
await server.listen();
console.log(`gpio card at ${socketPath}; Enter flips the wire of pin 4`);

// The world outside: a switch on pin 4.
let wires = 0;
process.stdin.on("data", () => {
  wires ^= 1 << 4;
  gpio.drive(wires);
  console.log(`pins ${gpio.levels.toString(2)}`);
});

process.once("SIGTERM", () => void end());
process.once("SIGINT", () => void end());

async function end(): Promise<void> {
  process.stdin.destroy();
  await server.close();
  await card.close(new Task("end"));
}
