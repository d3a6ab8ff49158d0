import { afterAll, beforeAll, expect, it } from "vitest";
import { vfiokit } from "./cards.js";
import { describeWithQemu } from "./lab.js";
import { Qemu, type DeviceOptions } from "./qemu.js";
import { Undo } from "./undo.js";
import { within } from "./wait.js";

const MINUTES = 60_000;
const ID = "1b36:0102";
const FUNCTIONS = ["00:10.0", "00:10.1"] as const;

// The counter's registers.
const COUNT = 0x08;

// A card of two functions in a real guest, put there by the options that `vfiokit serve` prints, and what the host's
// administrator does to it meanwhile.
describeWithQemu("a card of two functions, and its administrator", (lab) => {
  const undo = new Undo();
  let socket: string;
  let qemu: Qemu;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    socket = scratch.outside("card");
    const server = vfiokit("serve", "counter", "--functions", "2", "--socket-path", socket, "--json");
    undo.add(async () => expect(await server.kill("SIGTERM")).toBe(0));
    const [, options] = (await server.printed(/"qemu":(\[.*\])/)) as unknown as [string, string];
    const devices = (JSON.parse(options) as string[])
      .filter((word) => word.startsWith("{"))
      // QEMU sees the sockets from within its chroot.
      .map((word) => JSON.parse(word.replace(scratch.outside(""), scratch.inside(""))) as DeviceOptions);
    expect(devices).toHaveLength(2);
    qemu = await Qemu.start(lab, {
      devices: devices.map((device, at) => ({ ...device, id: `counter${at}` })),
    });
    undo.add(() => qemu.stop());
  }, 3 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  const ctl = async (number: number, ...words: string[]) => {
    const command = vfiokit("ctl", `${socket}.${number}`, ...words, "--json");
    expect(await command.ended, command.output).toBe(0);
    return JSON.parse(command.output) as Record<string, unknown>;
  };

  /** Has the function decode memory, and writes and reads its COUNT. */
  const access = (place: string, value?: number) =>
    qemu.guest.ok(
      [
        `setpci -s ${place} COMMAND=2`,
        `ADDRESS=0x$(lspci -s ${place} -v 2>/dev/null | sed -n 's/.*Memory at \\([0-9a-f]*\\).*/\\1/p')`,
        value === undefined ? "" : `busybox devmem $((ADDRESS + ${COUNT})) 32 ${value}`,
        `busybox devmem $((ADDRESS + ${COUNT}))`,
      ].join("\n"),
    );

  it(
    "is in one slot",
    async () => {
      const found = await qemu.guest.ok(`lspci -n -d ${ID} 2>/dev/null`);
      expect(found.split("\n")).toEqual(FUNCTIONS.map((place) => `${place} 0880: ${ID}`));
      for (const number of [0, 1])
        expect(await ctl(number, "info")).toMatchObject({ name: `counter.${number}`, connected: true });
    },
    MINUTES,
  );

  it(
    "is reset as a whole by a hot reset, one by one by resets; the guest goes on with it",
    async () => {
      for (const place of FUNCTIONS) expect(await access(place, 7)).toBe("0x00000007");
      await ctl(0, "hot-reset");
      for (const place of FUNCTIONS) expect(await access(place)).toBe("0x00000000");
      for (const place of FUNCTIONS) await access(place, 8);
      await ctl(1, "reset");
      expect([await access(FUNCTIONS[0]), await access(FUNCTIONS[1])]).toEqual(["0x00000008", "0x00000000"]);
    },
    MINUTES,
  );

  it(
    "reads as ones once it is removed; the other function stays",
    async () => {
      await access(FUNCTIONS[0], 9);
      await ctl(1, "remove");
      expect(await access(FUNCTIONS[1])).toBe("0xFFFFFFFF");
      expect(await access(FUNCTIONS[0])).toBe("0x00000009");
    },
    MINUTES,
  );

  it(
    "stops the machine with an uncorrectable error: QEMU cannot tell the guest of it",
    async () => {
      const stopped = qemu.qmp.event(({ event }) => event === "STOP");
      await ctl(0, "inject", "fatal");
      await within(30, stopped, () => "QEMU stops the machine");
      expect(await qemu.qmp.execute("query-status")).toMatchObject({ status: "internal-error" });
    },
    MINUTES,
  );
});
