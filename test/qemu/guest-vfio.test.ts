import { IrqIndex, pm, type PciDevice } from "@vfiokit/core";
import { PciCommand, PciHeader, PowerState } from "@vfiokit/core/pci";
import { DeviceFlags, IrqFlags, NUM_IRQS, NUM_REGIONS, RegionFlags } from "@vfiokit/core/host";
import type { ResetInitiator } from "@vfiokit/core/lab";
import { counterCard, uartRegisters } from "@vfiokit/devices";
import type { MigrationStatus } from "@vfiokit/user";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BusyPort } from "./busy-port.js";
import { VfioUserCard, vfiokit } from "./cards.js";
import { GuestCounter, POWER_ON, SCRIBBLED } from "./guest-counter.js";
import { GuestVfio, asleep, functionOf, powerState, read, write } from "./guest-vfio.js";
import { describeWithQemu } from "./lab.js";
import type { Line } from "./line.js";
import { Qemu } from "./qemu.js";
import { RecordedCard, type RecordedFunction } from "./recorded-card.js";
import { findTty, plugged, slot, transfersBothWays } from "./tty.js";
import { Undo } from "./undo.js";

const { IER, IER_ETBEI, IIR, IIR_NONE, IIR_THR_EMPTY, SCR } = uartRegisters;

const MINUTES = 60_000;
const SERIAL_PORT = { id: "port0", addr: "0x10" };
const COUNTER_PORT = { id: "port1", addr: "0x11" };
const SERIAL = slot(SERIAL_PORT);
const COUNTERS = [0, 1].map((number) => functionOf(slot(COUNTER_PORT), number));

/** Milliseconds: for an interrupt that comes, and for one that does not. */
const SOON = 20_000;
const NOW = 0;

/**
 * A real kernel's VFIO on top of our cards, behind the emulated IOMMU: what its resets and its power management come
 * down to at a vfio-user server, and that the cards work afterwards.
 *
 * One machine with two cards, each behind a root port: the serial card, served as users do it, and a counter card of
 * two functions, served here. The tests follow one another on it.
 */
describeWithQemu("a Linux guest that resets cards and puts them to sleep", (lab) => {
  const undo = new Undo();
  let serial: VfioUserCard;
  let line: Line;
  let counters: readonly RecordedFunction[];
  let qemu: Qemu;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    serial = await VfioUserCard.start(scratch, "serial");
    undo.add(() => serial.stop());
    line = await serial.line();
    // Function 0 keeps its registers in D3hot (No_Soft_Reset). Function 1 loses them on its way back to D0.
    const [keeps, loses] = counterCard({ functions: 2 });
    const capabilities = loses!.capabilities!.map((one) =>
      one.kind === "pm" ? pm({ noSoftReset: false }) : one,
    );
    const card = new RecordedCard([keeps!, { ...loses!, capabilities }], scratch, "counter");
    undo.add(() => card.close());
    counters = card.functions;
    await card.listen();
    qemu = await Qemu.start(lab, {
      iommu: true,
      rootPorts: [SERIAL_PORT, COUNTER_PORT],
      devices: [plugged(serial, SERIAL), ...card.devices(COUNTER_PORT.id)],
      modules: ["vfio-pci", "vfio_iommu_type1"],
      programs: ["vfio", "setup-tty"],
    });
    undo.add(() => qemu.stop());
    await qemu.guest.ok("modprobe vfio_iommu_type1; modprobe vfio-pci");
  }, 3 * MINUTES);
  afterAll(() => undo.run(), MINUTES);
  beforeEach(({ onTestFailed }) =>
    onTestFailed(() => {
      const logs = [serial.server.output, ...counters.map(({ log }) => log)];
      process.stderr.write(
        [qemu.guest.tail(), ...logs.map((log) => `--- a server said\n${log}`), ""].join("\n"),
      );
    }),
  );

  /** What reset each counter while something was done. */
  const resetsWhile = async (act: () => Promise<unknown>): Promise<ResetInitiator[][]> => {
    let ofFirst: ResetInitiator[] = [];
    const ofSecond = await counters[1]!.resetsWhile(
      async () => (ofFirst = await counters[0]!.resetsWhile(act)),
    );
    return [ofFirst, ofSecond];
  };

  describe("the serial card", () => {
    it(
      "survives an FLR through sysfs while its port is written and read",
      async () => {
        const tty = await findTty(qemu.guest, SERIAL);
        using busy = await BusyPort.start(qemu.guest, tty, line);
        const before = await migration(serial);
        expect(before).toMatchObject({ state: "RUNNING", sessionOpen: false });
        await qemu.guest.ok(`cd ${SERIAL.sysfs} && echo flr >reset_method && echo 1 >reset`);
        expect(await migration(serial)).toEqual({ ...before, generation: before.generation + 1 });
        // The driver was not asked: it sets the port up when it is told to, and then goes on where it was.
        await qemu.guest.ok(`setup-tty ${tty}`);
        await busy.flows();
        await busy.stop();
        await transfersBothWays(qemu.guest, SERIAL, line);
      },
      2 * MINUTES,
    );

    it(
      "is driven through the guest's VFIO: I/O ports, INTx, VFIO_DEVICE_RESET",
      async () => {
        await GuestVfio.bind(qemu.guest, [SERIAL]);
        const port = await GuestVfio.open(qemu.guest, [SERIAL]);
        const [region, irq] = await port.ask("region 0 0", `irq 0 ${IrqIndex.INTX}`);
        expect(region!.map(Number)).toEqual([RegionFlags.READ | RegionFlags.WRITE, 8]);
        const intx = IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED;
        expect(irq!.map(Number)).toEqual([intx, 1]);

        const interrupts = async (): Promise<void> => {
          const transmitterEmpty = write(0, 0, IER, IER_ETBEI, 1);
          expect(await port.numbers(`wait 0 ${IrqIndex.INTX} ${NOW}`)).toEqual([0]);
          await port.ask(write(0, 0, SCR, 0x5a, 1), transmitterEmpty);
          expect(await port.numbers(`wait 0 ${IrqIndex.INTX} ${SOON}`)).toEqual([1]);
          // Reading what it is takes it back; the line is low when the kernel looks at it.
          expect(await port.numbers(read(0, 0, IIR, 1), read(0, 0, IIR, 1), read(0, 0, SCR, 1))).toEqual([
            IIR_THR_EMPTY,
            IIR_NONE,
            0x5a,
          ]);
          await port.ask(`unmask 0 ${IrqIndex.INTX}`);
        };
        await port.ask(`eventfd 0 ${IrqIndex.INTX}`);
        await interrupts();
        const before = await migration(serial);
        await port.ask("reset 0");
        expect(await migration(serial)).toEqual({ ...before, generation: before.generation + 1 });
        expect(await port.numbers(read(0, 0, IER, 1), read(0, 0, SCR, 1))).toEqual([0, 0]);
        await interrupts();

        await port.close();
        await GuestVfio.unbind(qemu.guest, [SERIAL]);
        await transfersBothWays(qemu.guest, SERIAL, line);
      },
      2 * MINUTES,
    );
  });

  describe("the counters, given to the guest's vfio-pci,", () => {
    let vfio: GuestVfio;
    let cards: readonly GuestCounter[];

    const sysfsPower = () => Promise.all(COUNTERS.map((place) => powerState(qemu.guest, place)));
    const registersPower = () => counters.map(({ powerState }) => powerState);
    const registers = async () => [await cards[0]!.registers(), await cards[1]!.registers()];
    const scribble = () => vfio.ask(...cards.flatMap((card) => card.scribble()));
    const work = async () => {
      for (const card of cards) await card.works();
    };

    it(
      "sleep in D3hot by runtime PM while nobody has them open, and are woken by who opens them",
      async () => {
        await GuestVfio.bind(qemu.guest, COUNTERS);
        for (const place of COUNTERS) await asleep(qemu.guest, place);
        expect(registersPower()).toEqual([PowerState.D3HOT, PowerState.D3HOT]);

        const resets = await resetsWhile(async () => (vfio = await GuestVfio.open(qemu.guest, COUNTERS)));
        cards = counters.map(({ device }, fn) => new GuestCounter(vfio, fn, device));
        expect(await sysfsPower()).toEqual(["D0", "D0"]);
        expect(registersPower()).toEqual([PowerState.D0, PowerState.D0]);
        // Waking resets the one without No_Soft_Reset. VFIO resets whatever is opened.
        expect(resets).toEqual([["flr-pcie"], ["power-on", "flr-pcie"]]);
      },
      MINUTES,
    );

    it(
      "count, write to memory through the IOMMU, and interrupt by MSI",
      async () => {
        const [info, region] = await vfio.ask("info 0", "region 0 0");
        expect(info!.map(Number)).toEqual([DeviceFlags.RESET | DeviceFlags.PCI, NUM_REGIONS, NUM_IRQS]);
        expect(Number(region![1])).toBe(0x1000);
        await GuestCounter.mapPage(vfio);
        for (const card of cards) await card.setUp();
        await work();
      },
      MINUTES,
    );

    // What the guest's kernel does comes down to, for the server of each function, …
    const flr: ResetInitiator[] = ["flr-pcie"];
    // … and for a reset of the bus: QEMU sends VFIO_USER_DEVICE_RESET to each device on it.
    const deviceReset: ResetInitiator[] = ["ioctl"];
    const kinds: [title: string, command: () => string, resets: ResetInitiator[][]][] = [
      ["VFIO_DEVICE_RESET", () => "reset 0", [flr, []]],
      ["VFIO_DEVICE_RESET of the other", () => "reset 1", [[], flr]],
      ["an FLR by a write to configuration space", () => cards[0]!.flr(), [flr, []]],
      ["a hot reset", () => "hot-reset 0 1", [deviceReset, deviceReset]],
    ];
    it.each(kinds)(
      "are at power-on after %s, and work again as they are",
      async (_title, command, resets) => {
        await scribble();
        const before = await configuration();
        expect(await resetsWhile(() => vfio.ask(command()))).toEqual(resets);
        expect(await registers()).toEqual(resets.map(({ length }) => (length > 0 ? POWER_ON : SCRIBBLED)));
        // The guest's kernel has put configuration space back: nobody sets up MSI or bus mastering again.
        expect(await configuration()).toEqual(before);
        await work();
      },
      MINUTES,
    );

    it(
      "are not reset by a hot reset that does not prove who owns their group",
      async () => {
        const affected = await vfio.ask("hot-reset-info 0", "hot-reset-info 1");
        for (const names of affected) expect(names.map((name) => name.at(-1))).toEqual(["0", "1"]);
        await scribble();
        let errno: string | undefined;
        const resets = await resetsWhile(async () => (errno = await vfio.refused("hot-reset 0 0")));
        expect([errno, resets]).toEqual(["EINVAL", [[], []]]);
        expect(await registers()).toEqual([SCRIBBLED, SCRIBBLED]);
      },
      MINUTES,
    );

    it(
      "sleep and wake by PMCSR: one keeps its registers, the other is reset",
      async () => {
        await scribble();
        const before = await configuration();
        const setPower = (state: number) => vfio.ask(...cards.map((card) => card.setPower(state)));
        expect(await resetsWhile(() => setPower(PowerState.D3HOT))).toEqual([[], []]);
        expect(await sysfsPower()).toEqual(["D3hot", "D3hot"]);
        expect(registersPower()).toEqual([PowerState.D3HOT, PowerState.D3HOT]);
        expect(await vfio.refused(read(0, 0, 0))).toBe("EIO");

        expect(await resetsWhile(() => setPower(PowerState.D0))).toEqual([[], ["power-on"]]);
        expect(await sysfsPower()).toEqual(["D0", "D0"]);
        expect(registersPower()).toEqual([PowerState.D0, PowerState.D0]);
        expect(await registers()).toEqual([SCRIBBLED, POWER_ON]);
        expect(await configuration()).toEqual(before);
        await work();
      },
      MINUTES,
    );

    it(
      "are reset when they are closed, and sleep again",
      async () => {
        expect(await resetsWhile(() => vfio.close())).toEqual([flr, flr]);
        for (const place of COUNTERS) await asleep(qemu.guest, place);
        expect(registersPower()).toEqual([PowerState.D3HOT, PowerState.D3HOT]);
        for (const { log } of counters) expect(log).not.toMatch(/^(error|warn):/m);
      },
      MINUTES,
    );

    /** Both functions' configuration space as the guest's kernel reads it, and as the server has it. */
    const configuration = async (): Promise<string[]> => {
      const folders = COUNTERS.map(({ sysfs }) => `${sysfs}/config`).join(" ");
      const seen = await qemu.guest.ok(`for config in ${folders}; do od -An -v -tx1 -N 256 $config; done`);
      const guests = Buffer.from(seen.replace(/\s/g, ""), "hex");
      return [guests.subarray(0, 256), guests.subarray(256)]
        .map(withoutIntxDisable)
        .concat(counters.map(({ device }) => withoutBars(withoutIntxDisable(configOf(device)))))
        .map((bytes) => bytes.toString("hex"));
    };
  });
});

function configOf({ config }: PciDevice): Buffer {
  const bytes = Buffer.alloc(config.size);
  config.read(0, bytes.length, bytes, 0);
  return bytes;
}

/** Linux sets it with MSI; VFIO's own write of the register takes it back; a reset's restoring of MSI sets it again. */
function withoutIntxDisable(config: Buffer): Buffer {
  const command = config.readUInt16LE(PciHeader.COMMAND);
  config.writeUInt16LE(command & ~PciCommand.INTX_DISABLE, PciHeader.COMMAND);
  return config;
}

/** After an FLR they are at power-on in the server for good: QEMU answers for them itself, and the guest sees no change. */
function withoutBars(config: Buffer): Buffer {
  return config.fill(0, PciHeader.BASE_ADDRESS_0, PciHeader.CARDBUS_CIS);
}

/** What `vfiokit ctl SOCKET migration` says: every reset leaves a device running, and is counted. */
async function migration({ socketPath }: VfioUserCard): Promise<MigrationStatus> {
  const command = vfiokit("ctl", socketPath, "migration", "--json");
  const end = await command.ended;
  if (end !== 0) throw new Error(`vfiokit ctl ended with ${end}:\n${command.output}`);
  return JSON.parse(command.output) as MigrationStatus;
}
