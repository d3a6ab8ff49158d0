import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SerialCard, SerialCardKind } from "./cards.js";
import { describeWithQemu, type Lab } from "./lab.js";
import type { Line } from "./line.js";
import { Qemu } from "./qemu.js";
import { findTty, guestToHost, hostToGuest, plugged, rootBus, slot, transfersBothWays } from "./tty.js";
import { Undo } from "./undo.js";

const KIB = 1024;
const MINUTES = 60_000;
const ROOT_PORT = { id: "port0", addr: "0x10" };
const FIRST = slot(ROOT_PORT);
const SECOND = rootBus("0x18");

/**
 * What a PCI serial card must do in a Linux guest with the kernel's own driver, whoever emulates it.
 *
 * One machine with two cards, the first behind a root port, where it can be unplugged, and the second on
 * the root bus. The tests follow one another on it, as a day of its life would.
 */
export function serialCardScenarios(kind: SerialCardKind): void {
  describeWithQemu(`${kind.name} in a Linux guest`, (lab: Lab) => {
    const undo = new Undo();
    let cards: SerialCard[];
    let qemu: Qemu;
    let lines: Line[];

    beforeAll(async () => {
      const scratch = lab.scratch();
      undo.add(() => scratch[Symbol.dispose]());
      cards = [];
      for (const id of ["card0", "card1"]) {
        const card = await kind.create(scratch, id);
        undo.add(() => card.stop());
        cards.push(card);
      }
      qemu = await Qemu.start(lab, {
        rootPorts: [ROOT_PORT],
        devices: [plugged(cards[0]!, FIRST), plugged(cards[1]!, SECOND)],
        machineArgs: cards.flatMap((card) => card.machineArgs),
      });
      undo.add(() => qemu.stop());
      lines = await Promise.all(cards.map((card) => card.line()));
    }, 3 * MINUTES);

    afterAll(() => undo.run(), MINUTES);

    const firstCardWorks = (): Promise<void> => transfersBothWays(qemu.guest, FIRST, lines[0]!);

    it("is bound by 8250_pci, and a tty appears", async () => {
      expect(await qemu.guest.ok(`basename $(readlink ${FIRST.sysfs}/driver)`)).toBe("serial");
      const tty = await findTty(qemu.guest, FIRST);
      expect(tty).toMatch(/^\/dev\/ttyS\d+$/);
      const type = await qemu.guest.ok(
        `grep '^${tty.slice("/dev/ttyS".length)}:' /proc/tty/driver/serial_8250`,
      );
      expect(type).toContain("uart:16550A");
    });

    it(
      "brings 64 KiB intact to the host",
      async () => {
        const tty = await findTty(qemu.guest, FIRST);
        const { sent, arrived } = await guestToHost(qemu.guest, tty, lines[0]!, 64 * KIB);
        expect(arrived).toBe(sent);
      },
      3 * MINUTES,
    );

    it(
      "brings 64 KiB intact to the guest",
      async () => {
        const tty = await findTty(qemu.guest, FIRST);
        const { sent, arrived } = await hostToGuest(qemu.guest, tty, lines[0]!, 64 * KIB);
        expect(arrived).toBe(sent);
      },
      3 * MINUTES,
    );

    it("interrupts, and the guest counts it", async () => {
      const tty = await findTty(qemu.guest, FIRST);
      const rounds = 20;
      // Each byte from the host is sent when the guest has asked for it: none can share an interrupt with
      // the one before. The port's name is in /proc/interrupts while the port is open.
      const counts = qemu.guest.ok(`
        stty -F ${tty} raw -echo
        exec 4<>${tty}
        count() { awk '/ ${tty.slice("/dev/".length)}$/ { print $2 }' /proc/interrupts; }
        count
        for i in $(seq ${rounds}); do printf x >&4; dd bs=1 count=1 <&4 2>/dev/null >/dev/null; done
        count`);
      for (let round = 0; round < rounds; round++) {
        await lines[0]!.take(1);
        lines[0]!.send(Buffer.from("y"));
      }
      const [before, after] = (await counts).split("\n").map(Number);
      expect(after! - before!).toBeGreaterThanOrEqual(rounds);
    });

    it(
      "works on both cards at once",
      async () => {
        const ttys = [await findTty(qemu.guest, FIRST), await findTty(qemu.guest, SECOND)];
        expect(new Set(ttys).size).toBe(2);
        const text = (card: number): string => `card ${card} `.repeat(1000);
        const script = (tty: string, card: number): string => `
          stty -F ${tty} raw -echo 115200
          exec 4<>${tty}
          printf R >&4
          head -c ${text(card).length} <&4 >&4`;
        const answer = qemu.guest.ok(`( ${script(ttys[0]!, 0)} ) & ( ${script(ttys[1]!, 1)} ) & wait`, 120);
        const echoed = lines.map(async (line, card) => {
          await line.take(1);
          line.send(Buffer.from(text(card)));
          return (await line.take(text(card).length, 120)).toString();
        });
        expect(await Promise.all(echoed)).toEqual([text(0), text(1)]);
        await answer;
      },
      3 * MINUTES,
    );

    describe("keeps working after", () => {
      it(
        "every reset that the guest's sysfs offers",
        async () => {
          const places = [FIRST, SECOND];
          for (const [index, offered] of [kind.resets.inSlot, kind.resets.onRootBus].entries()) {
            const { sysfs } = places[index]!;
            const methods = await qemu.guest.ok(`cd ${sysfs} && [ ! -e reset ] || cat reset_method`);
            expect(methods.split(" ").filter((method) => method !== "")).toEqual(offered);
            for (const method of offered) {
              await qemu.guest.ok(`cd ${sysfs} && echo ${method} >reset_method && echo 1 >reset`);
              await transfersBothWays(qemu.guest, places[index]!, lines[index]!);
            }
          }
        },
        2 * MINUTES,
      );

      it(
        "its driver was unbound and bound again",
        async () => {
          await qemu.guest.ok(`
            function=$(basename ${FIRST.sysfs})
            cd /sys/bus/pci/drivers/serial
            echo $function >unbind
            [ ! -e $function ]
            echo $function >bind`);
          await firstCardWorks();
        },
        MINUTES,
      );

      it(
        "it was unplugged and plugged in again",
        async () => {
          await qemu.deviceDel("card0");
          expect((await qemu.guest.sh(`ls -d ${FIRST.sysfs}`)).status).not.toBe(0);
          await qemu.deviceAdd(plugged(cards[0]!, FIRST));
          await firstCardWorks();
        },
        2 * MINUTES,
      );

      it(
        "the guest rebooted",
        async () => {
          await qemu.reboot();
          await firstCardWorks();
        },
        3 * MINUTES,
      );

      it(
        "system_reset",
        async () => {
          await qemu.systemReset();
          await firstCardWorks();
        },
        3 * MINUTES,
      );
    });
  });
}
