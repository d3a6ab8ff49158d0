import { readFileSync } from "node:fs";
import { PciCommand, PciHeader, PowerState } from "@vfiokit/core/pci";
import { counterCard, type Scratch as ScratchKind } from "@vfiokit/devices";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeWithQemu } from "./lab.js";
import { Qemu } from "./qemu.js";
import { RecordedCard, type RecordedFunction } from "./recorded-card.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const BAR = 2;
const PAGE = 4096;
/** A word on each page: those of odd pages are mapped in both cards, those of even ones only in one. */
const WORDS = [0x10, PAGE + 0x20, 2 * PAGE + 0x30, 3 * PAGE + 0xffc];
const KINDS = ["whole", "sparse"] as const satisfies readonly ScratchKind[];
/** What QEMU reads where no device answers. */
const NOBODY = [0, 0, 0, 0];

// QEMU 11.1 once refused every device with a mappable BAR: "failed to get region 2 info: Invalid argument".
describeWithQemu("a guest whose card has a BAR that QEMU maps", (lab) => {
  const undo = new Undo();
  const cards = new Map<ScratchKind, RecordedFunction>();
  let qemu: Qemu;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    const devices = [];
    for (const [at, kind] of KINDS.entries()) {
      const card = new RecordedCard(counterCard({ functions: 1, scratch: kind }), scratch, kind);
      undo.add(() => card.close());
      await card.listen();
      cards.set(kind, card.functions[0]!);
      devices.push({ ...card.functions[0]!.options, bus: "pcie.0", addr: `0x1${at}` });
    }
    qemu = await Qemu.start(lab, { devices });
    undo.add(() => qemu.stop());
  }, 3 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  describe.each(KINDS.map((kind, at) => ({ kind, place: `00:1${at}.0` })))("$kind", ({ kind, place }) => {
    const setpci = (setting: string) => qemu.guest.ok(`setpci -s ${place} ${setting}`);
    const power = (state: number) => setpci(`CAP_PM+4.w=${state}:3`);
    const enableMemory = (on: boolean) =>
      setpci(`COMMAND=${on ? PciCommand.MEMORY : 0}:${PciCommand.MEMORY}`);

    /** Runs devmem once for each of the words, which may each get a value. */
    const devmem = async (values?: readonly number[]): Promise<number[]> => {
      const script = [
        `ADDRESS=0x$(lspci -s ${place} -v 2>/dev/null | sed -n 's/.*Memory at \\([0-9a-f]*\\).*prefetchable.*size=16K.*/\\1/p')`,
        ...WORDS.map((at, n) => `busybox devmem $((ADDRESS + ${at})) 32 ${values?.[n] ?? ""}`),
      ].join("\n");
      const output = await qemu.guest.ok(script);
      return output === "" ? [] : output.split("\n").map(Number);
    };

    const device = () => cards.get(kind)!.device;
    /** What the server has. Its memory is there also while the guest may not reach it. */
    const inServer = (values?: readonly number[]): number[] => {
      const { bytes } = device().barBacking(BAR);
      const view = new DataView(bytes!.buffer, bytes!.byteOffset);
      values?.forEach((value, n) => view.setUint32(WORDS[n]!, value, true));
      return WORDS.map((at) => view.getUint32(at, true));
    };
    const command = () => device().config.get16(PciHeader.COMMAND);

    it(
      "is mapped by QEMU",
      () => {
        const maps = readFileSync(`/proc/${qemu.process.pid}/maps`, "utf8").split("\n");
        const sizes = maps
          .filter((line) => line.includes(`${device().name}-bar2`))
          .map((line) =>
            line
              .split(" ")[0]!
              .split("-")
              .map((hex) => Number.parseInt(hex, 16)),
          )
          .map(([from, to]) => to! - from!);
        // Both cards' BARs have the same name.
        expect(sizes.sort()).toEqual([4 * PAGE, PAGE, PAGE].sort());
      },
      MINUTES,
    );

    it(
      "has the guest's bytes reach the server, and the server's bytes the guest",
      async () => {
        await enableMemory(true);
        const fromGuest = [0x11111111, 0x22222222, 0x33333333, 0x44444444];
        await devmem(fromGuest);
        expect(inServer()).toEqual(fromGuest);
        const fromServer = [0xa1, 0xa2, 0xa3, 0xa4];
        inServer(fromServer);
        expect(await devmem()).toEqual(fromServer);
      },
      MINUTES,
    );

    it(
      "is empty after an FLR, and works again",
      async () => {
        await enableMemory(true);
        await devmem([1, 2, 3, 4]);
        const reset = `cd /sys/bus/pci/devices/0000:${place} && echo flr >reset_method && echo 1 >reset`;
        const resets = await cards.get(kind)!.resetsWhile(() => qemu.guest.ok(reset));
        expect(resets).toEqual(["flr-pcie"]);
        expect(inServer()).toEqual([0, 0, 0, 0]);
        expect(await devmem()).toEqual([0, 0, 0, 0]);
        await devmem([5, 6, 7, 8]);
        expect(inServer()).toEqual([5, 6, 7, 8]);
      },
      MINUTES,
    );

    it(
      "is out of reach in D3hot, and keeps its bytes",
      async () => {
        await enableMemory(true);
        await devmem([1, 2, 3, 4]);
        await power(PowerState.D3HOT);
        expect(cards.get(kind)!.powerState).toBe(PowerState.D3HOT);
        await devmem([9, 9, 9, 9]);
        expect(await devmem()).toEqual(NOBODY);
        expect(inServer()).toEqual([1, 2, 3, 4]);
        await power(PowerState.D0);
        expect(await devmem()).toEqual([1, 2, 3, 4]);
      },
      MINUTES,
    );

    it(
      "is out of reach while memory is disabled, and keeps its bytes",
      async () => {
        await enableMemory(true);
        await devmem([1, 2, 3, 4]);
        await enableMemory(false);
        expect(command() & PciCommand.MEMORY).toBe(0);
        await devmem([9, 9, 9, 9]);
        expect(await devmem()).toEqual(NOBODY);
        expect(inServer()).toEqual([1, 2, 3, 4]);
        await enableMemory(true);
        expect(await devmem()).toEqual([1, 2, 3, 4]);
      },
      MINUTES,
    );
  });
});
