import { RegionIndex } from "@vfiokit/core";
import type { Guest } from "./guest.js";
import type { Place } from "./tty.js";

/** Seconds that the guest's VFIO may take for one command. */
const PATIENCE = 40;

/** `read` of guest/vfio.c. */
export function read(device: number, region: number, offset: number, size = 4): string {
  return `read ${device} ${region} ${offset} ${size}`;
}

/** `write` of guest/vfio.c. */
export function write(device: number, region: number, offset: number, value: number, size = 4): string {
  return `write ${device} ${region} ${offset} ${size} ${value}`;
}

export function writeConfig(device: number, offset: number, value: number, size: number): string {
  return write(device, RegionIndex.CONFIG, offset, value, size);
}

/** A program in the guest that has opened functions through the guest kernel's VFIO (see guest/vfio.c). */
export class GuestVfio {
  private constructor(private readonly guest: Guest) {}

  /** Gives the functions to the guest's vfio-pci, whatever driver they have. */
  static async bind(guest: Guest, places: readonly Place[]): Promise<void> {
    for (const { sysfs } of places) {
      await guest.ok(`
        cd ${sysfs}
        function=$(basename $PWD)
        echo vfio-pci >driver_override
        [ ! -e driver ] || echo $function >driver/unbind
        echo $function >/sys/bus/pci/drivers_probe
        [ $(basename $(readlink driver)) = vfio-pci ]`);
    }
  }

  /** Gives the functions back to whatever driver the guest has for them. */
  static async unbind(guest: Guest, places: readonly Place[]): Promise<void> {
    for (const { sysfs } of places) {
      await guest.ok(`
        cd ${sysfs}
        function=$(basename $PWD)
        echo >driver_override
        echo $function >driver/unbind
        echo $function >/sys/bus/pci/drivers_probe`);
    }
  }

  /** Starts the program, and opens functions of one group: DEVICE of its commands is the place in this list. */
  static async open(guest: Guest, places: readonly Place[]): Promise<GuestVfio> {
    // The program holds both ends of its pipes open, so that neither side ever waits for the other to open one.
    await guest.ok(`
      rm -f /tmp/vfio.*
      mkfifo /tmp/vfio.in /tmp/vfio.out
      vfio 0<>/tmp/vfio.in 1<>/tmp/vfio.out 2>/tmp/vfio.err &
      echo $! >/tmp/vfio.pid`);
    const folders = places.map(({ sysfs }) => sysfs);
    const group = await guest.ok(`cd ${folders[0]!} && basename $(readlink iommu_group)`);
    const names = await guest.ok(`for folder in ${folders.join(" ")}; do basename $folder; done`);
    const vfio = new GuestVfio(guest);
    await vfio.ask(`open ${group} ${names.replaceAll("\n", " ")}`);
    return vfio;
  }

  /** Runs commands one after the other. @returns the words of each answer @throws Error if one of them fails */
  async ask(...commands: string[]): Promise<string[][]> {
    const answers = await this.run(commands);
    const failed = answers.findIndex((answer) => !/^ok\b/.test(answer));
    if (failed >= 0)
      throw new Error(`the guest's VFIO: ${commands[failed]!}: ${answers[failed]!}\n${this.guest.tail()}`);
    return answers.map((answer) => answer.split(" ").slice(1));
  }

  /** As {@link ask}, of commands that answer one number each. */
  async numbers(...commands: string[]): Promise<number[]> {
    return (await this.ask(...commands)).map(([value]) => Number(value));
  }

  /** Runs a command that must fail. @returns the name of its errno */
  async refused(command: string): Promise<string> {
    const [answer] = await this.run([command]);
    if (answer!.startsWith("ok")) throw new Error(`the guest's VFIO: ${command}: ${answer!}`);
    return answer!.split(" ")[0]!;
  }

  /** Ends the program: the kernel closes what it had open. */
  async close(): Promise<void> {
    await this.guest.ok(`
      pid=$(cat /tmp/vfio.pid)
      kill $pid
      while [ -e /proc/$pid ]; do usleep 20000; done`);
  }

  private async run(commands: readonly string[]): Promise<string[]> {
    const output = await this.guest.ok(
      `exec 5<>/tmp/vfio.out
      while read -r command; do
        echo "$command" >/tmp/vfio.in
        read -t ${PATIENCE} -r answer <&5 || { echo "no answer to: $command"; cat /tmp/vfio.err; exit 1; }
        echo "$answer"
      done <<END
${commands.join("\n")}
END`,
      PATIENCE + 20,
    );
    return output.split("\n");
  }
}

/** The function's power state as the guest's kernel sees it: "D0", "D3hot" … */
export function powerState(guest: Guest, { sysfs }: Place): Promise<string> {
  return guest.ok(`cat ${sysfs}/power_state`);
}

/** Waits until the guest's kernel has put the function to sleep: runtime PM does it in its own time. */
export async function asleep(guest: Guest, { sysfs }: Place): Promise<void> {
  await guest.ok(`until [ $(cat ${sysfs}/power_state) = D3hot ]; do usleep 20000; done`);
}

/** Another function of the card whose function 0 is at `place`. */
export function functionOf(place: Place, number: number): Place {
  return { ...place, sysfs: place.sysfs.replace(/0$/, `${number}`) };
}
