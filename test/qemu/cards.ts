import { once } from "node:events";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { Child } from "./child.js";
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
  /** How the guest can reset the function: the words of its reset_method file. */
  readonly resets: { readonly inSlot: readonly string[]; readonly onRootBus: readonly string[] };
  create(scratch: Scratch, id: string): Promise<SerialCard>;
}

/** QEMU's own card: shows that what a scenario asks for is what a real driver and a proven card do. */
export const pciSerial: SerialCardKind = {
  name: "QEMU's pci-serial",
  resets: { inSlot: ["bus"], onRootBus: [] },
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

const VFIOKIT = fileURLToPath(new URL("../../packages/cli/bin/vfiokit.js", import.meta.url));

/** The command as its users start it, from the build. */
export function vfiokit(...args: string[]): Child {
  return new Child(`vfiokit ${args[0]!}`, [process.execPath, VFIOKIT, ...args]);
}

/** Our card, behind a vfio-user socket, each in a server process of its own. */
export const vfioUserSerial: SerialCardKind = {
  name: "vfiokit's serial card",
  resets: { inSlot: ["flr", "bus"], onRootBus: ["flr"] },
  create: (scratch, id) => VfioUserCard.start(scratch, id),
};

export class VfioUserCard implements SerialCard {
  readonly machineArgs: readonly string[] = [];

  static async start(scratch: Scratch, id: string): Promise<VfioUserCard> {
    const socketPath = scratch.outside(`${id}-vfio-user`);
    const linePath = scratch.outside(`${id}-line`);
    const server = vfiokit("serve", "serial", "--socket-path", socketPath, "--chardev", `unix:${linePath}`);
    await server.printed(/-device/);
    return new VfioUserCard(scratch, id, server);
  }

  private constructor(
    private readonly scratch: Scratch,
    private readonly id: string,
    readonly server: Child,
  ) {}

  /** The server's socket, as programs outside QEMU's chroot name it. */
  get socketPath(): string {
    return this.scratch.outside(`${this.id}-vfio-user`);
  }

  get device(): DeviceOptions {
    const socket = { type: "unix", path: this.scratch.inside(`${this.id}-vfio-user`) };
    return { driver: "vfio-user-pci", id: this.id, socket };
  }

  async line(): Promise<Line> {
    const socket = connect(this.scratch.outside(`${this.id}-line`));
    await once(socket, "connect");
    return new Line(socket);
  }

  /** Ends the server, and fails when it does not end the way it should. */
  async stop(): Promise<void> {
    const running = this.server.running;
    const end = await this.server.kill("SIGTERM");
    if (!running || end !== 0) throw new Error(`the server ended with ${end}:\n${this.server.output}`);
  }
}
