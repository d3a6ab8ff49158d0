import { Child } from "./child.js";
import { Guest } from "./guest.js";
import { guestImage, type GuestContent } from "./initramfs.js";
import type { Lab, Scratch } from "./lab.js";
import { Qmp } from "./qmp.js";
import { Listener, within } from "./wait.js";

/** Properties of a `-device`, as QEMU's JSON form and QMP's device_add take them. */
export interface DeviceOptions {
  readonly driver: string;
  readonly id: string;
  readonly bus?: string;
  readonly [property: string]: unknown;
}

export interface QemuOptions extends GuestContent {
  /** Devices to start with, in this order. */
  readonly devices?: readonly DeviceOptions[];
  /** Slots whose device can be unplugged, and reset through its bus. */
  readonly rootPorts?: readonly RootPort[];
  /** MiB of memory; all of it is a memfd that a vfio-user server can map. */
  readonly memory?: number;
  /** An Intel IOMMU between the devices and the memory, switched on in the guest. */
  readonly iommu?: boolean;
  readonly kernelArgs?: string;
  /** Further command line options. */
  readonly machineArgs?: readonly string[];
  /** Lines of the guest's console that look like trouble and are none. */
  readonly allowOnConsole?: readonly RegExp[];
}

export interface RootPort {
  readonly id: string;
  /** Its device number on the root bus, in hexadecimal. */
  readonly addr: string;
}

/** A running machine: a QEMU process with a booted Linux guest. */
export class Qemu {
  private constructor(
    readonly process: Child,
    readonly qmp: Qmp,
    readonly guest: Guest,
    private readonly scratch: Scratch,
  ) {}

  /** Starts a machine and waits until its guest takes commands: about five seconds on an idle machine. */
  static async start(lab: Lab, options: QemuOptions = {}): Promise<Qemu> {
    const image = guestImage(lab, options);
    const scratch = lab.scratch();
    const listeners: Listener[] = [];
    const listen = async (name: string): Promise<Listener> => {
      const listener = await Listener.open(scratch.outside(name));
      listeners.push(listener);
      return listener;
    };
    let child: Child | undefined;
    try {
      const [qmp, console, channel] = [await listen("qmp"), await listen("console"), await listen("channel")];
      child = new Child("QEMU", ["chroot", lab.root, ...commandLine(image, scratch, options)]);
      const ended = child.untilEnd("starting");
      const sockets = Promise.all([qmp.accepted, console.accepted, channel.accepted]);
      const [qmpSocket, consoleSocket, channelSocket] = await within(
        60,
        Promise.race([sockets, ended]),
        () => "QEMU is starting",
      );
      const guest = new Guest(
        consoleSocket,
        channelSocket,
        options.allowOnConsole ?? [],
        () => child!.output,
      );
      const qemu = new Qemu(child, await Qmp.open(qmpSocket), guest, scratch);
      await Promise.race([guest.booted(), ended]);
      return qemu;
    } catch (error) {
      await child?.kill();
      scratch[Symbol.dispose]();
      throw new Error(`${(error as Error).message}\n--- QEMU printed\n${child?.output ?? ""}`, {
        cause: error,
      });
    } finally {
      for (const listener of listeners) listener[Symbol.dispose]();
    }
  }

  /** Where this machine's sockets are, as the test names it. */
  get folder(): string {
    return this.scratch.outside("");
  }

  /** Presses the reset button, and waits for the next boot. */
  async systemReset(): Promise<void> {
    await this.guest.reboots(() => this.qmp.execute("system_reset"));
  }

  /** Restarts the machine the way its user would. */
  async reboot(): Promise<void> {
    await this.guest.reboots(() => {
      this.guest.sendOnly("reboot -f");
      return Promise.resolve();
    });
  }

  async deviceAdd(options: DeviceOptions): Promise<void> {
    await this.qmp.execute("device_add", options);
  }

  /** Asks the guest to give a device up, and waits until QEMU has let go of it. */
  async deviceDel(id: string): Promise<void> {
    const deleted = this.qmp.event(
      ({ event, data }) => event === "DEVICE_DELETED" && data?.["device"] === id,
    );
    await this.qmp.execute("device_del", { id });
    await within(30, deleted, () => `the guest gives up ${id}\n${this.guest.tail()}`);
  }

  /** Ends QEMU, and fails when the guest's kernel complained at any time. */
  async stop(): Promise<void> {
    const quit = this.qmp.execute("quit").catch(() => undefined);
    try {
      await within(20, Promise.all([quit, this.process.ended]), () => `QEMU quits\n${this.process.output}`);
    } finally {
      await this.process.kill();
      this.scratch[Symbol.dispose]();
    }
    await this.guest.assertHealthy();
  }
}

function commandLine(
  image: { kernel: string; initramfs: string },
  scratch: Scratch,
  options: QemuOptions,
): string[] {
  const memory = options.memory ?? 256;
  const socket = (id: string): string[] => ["-chardev", `socket,id=${id},path=${scratch.inside(id)}`];
  const kernelArgs = [
    // Warnings go to the console, where the test looks for them.
    "console=ttyS0 loglevel=5 panic=0 nowatchdog",
    // The kernel panics when its timer seems not to tick through the IOMMU, as on a host that is busy elsewhere.
    options.iommu ? "intel_iommu=on no_timer_check" : "",
    options.kernelArgs ?? "",
  ];
  const devices: DeviceOptions[] = [
    { driver: "virtio-serial-pci", id: "virtio-serial" },
    { driver: "virtserialport", id: "shell", chardev: "channel", name: "vfiokit" },
    ...(options.rootPorts ?? []).map((port, index) => ({
      driver: "pcie-root-port",
      ...port,
      chassis: index + 1,
      // A bus reset waits for the link, and needs one that says it is fast enough.
      "x-speed": "5",
    })),
    ...(options.devices ?? []),
  ];
  return [
    "qemu-system-x86_64",
    ...["-accel", "tcg", "-cpu", "max", "-m", `${memory}`, "-nodefaults", "-display", "none"],
    ...["-object", `memory-backend-memfd,id=memory,size=${memory}M,share=on`],
    ...["-machine", "q35,memory-backend=memory"],
    ...(options.iommu ? ["-device", "intel-iommu,caching-mode=on"] : []),
    ...["-kernel", image.kernel, "-initrd", image.initramfs, "-append", kernelArgs.join(" ").trim()],
    ...socket("console"),
    ...["-serial", "chardev:console"],
    ...socket("channel"),
    ...["-qmp", `unix:${scratch.inside("qmp")},server=off`],
    ...devices.flatMap((device) => ["-device", JSON.stringify(device)]),
    ...(options.machineArgs ?? []),
  ];
}
