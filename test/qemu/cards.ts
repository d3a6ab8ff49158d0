import { Line } from "./line.js";
import type { Scratch } from "./lab.js";
import type { DeviceOptions } from "./qemu.js";
import { Listener } from "./wait.js";

/** A serial card that a machine can be given, whoever emulates it. */
export interface SerialCard {
  /** The QEMU device. The same options plug it in again after it was unplugged. */
  readonly device: DeviceOptions;
  /** What QEMU's command line needs beside the device. */
  readonly machineArgs: readonly string[];
  /** The other end of the card's line, once the machine runs. */
  line(): Promise<Line>;
  stop(): Promise<void>;
}

/** One way to provide serial cards. */
export interface SerialCardKind {
  readonly name: string;
  /** How the guest can reset the function behind a root port: the words of its reset_method file. */
  readonly resetMethods: readonly string[];
  create(scratch: Scratch, id: string): Promise<SerialCard>;
}

/** QEMU's own card: shows that what a scenario asks for is what a real driver and a proven card do. */
export const pciSerial: SerialCardKind = {
  name: "QEMU's pci-serial",
  resetMethods: ["bus"],
  async create(scratch, id) {
    const listener = await Listener.open(scratch.outside(`${id}-line`));
    const line = listener.accepted.then((socket) => new Line(socket));
    return {
      device: { driver: "pci-serial", id, chardev: `${id}-line` },
      machineArgs: ["-chardev", `socket,id=${id}-line,path=${scratch.inside(`${id}-line`)}`],
      line: () => line,
      stop() {
        listener[Symbol.dispose]();
        return Promise.resolve();
      },
    };
  },
};
