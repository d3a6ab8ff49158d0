import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { RelayClient } from "@vfiokit/user";
import { vfiokit } from "./cards.js";
import { Child } from "./child.js";
import { describeWithQemu, type Scratch } from "./lab.js";
import { MovingLine } from "./moving-line.js";
import { Qemu } from "./qemu.js";
import { findTty, rootBus, sha256 } from "./tty.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const KIB = 1024;
const PLACE = rootBus("0x18");
const CARD = fileURLToPath(new URL("programs/moving-card.js", import.meta.url));

const BYTES = 24 * KIB;
const MOVES = 10;

/** Numbered lines, in which every loss, repetition and swap shows. */
function pattern(length: number): Buffer {
  const lines = Array.from({ length: Math.ceil(length / 8) }, (_, i) => `${1_000_000 + i}\n`);
  return Buffer.from(lines.join("")).subarray(0, length);
}

describeWithQemu("a device server that is replaced under a running guest, by a relay", (lab) => {
  const undo = new Undo();
  let scratch: Scratch;
  let line: MovingLine;
  let qemu: Qemu;
  let relay: RelayClient;
  let relayProcess: Child;
  const servers: Record<string, Child> = {};

  async function serve(name: string, ...extra: string[]): Promise<void> {
    const path = scratch.outside(name);
    const child = new Child(name, [process.execPath, CARD, path, scratch.outside("hub"), ...extra]);
    undo.add(() => child.kill());
    await child.printed(/serving/);
    servers[name] = child;
  }

  async function moveTo(from: string, to: string): Promise<number> {
    // The card's last bytes and signals belong to its turn.
    const moved = await relay.migrate(scratch.outside(to), { maxDowntime_ms: 300, maxRounds: 10 });
    await line.end(scratch.outside(from));
    await line.begin(scratch.outside(to));
    return moved.pause_ms;
  }

  beforeAll(async () => {
    scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    line = await MovingLine.listen(scratch.outside("hub"));
    undo.add(() => line[Symbol.dispose]());
    await Promise.all([serve("a"), serve("b"), serve("newer", "newer")]);
    const listen = scratch.outside("relay");
    relayProcess = vfiokit("relay", "--listen", listen, "--connect", scratch.outside("a"));
    undo.add(() => relayProcess.kill("SIGTERM"));
    await relayProcess.printed(/-device/);
    const device = {
      driver: "vfio-user-pci",
      id: "card",
      bus: PLACE.bus,
      addr: PLACE.addr,
      socket: { type: "unix", path: scratch.inside("relay") },
    };
    qemu = await Qemu.start(lab, { devices: [device] });
    undo.add(() => qemu.stop());
    await line.begin(scratch.outside("a"));
    relay = (await RelayClient.open(listen))!;
    undo.add(() => relay.close());
  }, 3 * MINUTES);

  afterAll(() => undo.run(), MINUTES);

  it(
    "moves ten times back and forth, and once to a newer version, while bytes flow both ways",
    async () => {
      const { guest } = qemu;
      const tty = await findTty(guest, PLACE);
      const name = tty.slice("/dev/".length);
      const logged = await guest.ok("dmesg | wc -l");
      const streams = guest.ok(
        `stty -F ${tty} raw -echo 115200
        exec 4<>${tty}
        count() { awk '/ ${name}$/ { print $2 }' /proc/interrupts; }
        before=$(count)
        printf R >&4
        head -c ${BYTES} <&4 >/tmp/in &
        i=1000000; seq $i $((i + ${BYTES / 8} - 1)) >&4
        wait
        sha256sum </tmp/in
        echo $(($(count) - before))`,
        120,
      );
      streams.catch(() => undefined);
      await line.receives(1);
      line.send(pattern(BYTES));

      const pauses: number[] = [];
      let at = "a";
      for (let move = 0; move <= MOVES; move++) {
        await line.receives(1 + ((move + 1) * BYTES) / (MOVES + 3));
        const to = move === MOVES ? "newer" : at === "a" ? "b" : "a";
        pauses.push(await moveTo(at, to));
        at = to;
      }
      const [sum, interrupts] = (await streams).split("\n");
      await line.receives(1 + BYTES);
      await line.end(scratch.outside(at));
      await line.begin(scratch.outside(at));

      expect(line.received.subarray(1).equals(pattern(BYTES))).toBe(true);
      expect(sum!.split(" ")[0]).toBe(sha256(pattern(BYTES)));
      const signals = [...line.signals.values()].reduce((total, count) => total + count, 0);
      console.log(
        `${pauses.length} moves: the longest pause was ${Math.max(...pauses).toFixed(1)} ms; ` +
          `${signals} signals, ${interrupts} interrupts`,
      );
      expect(await guest.ok("dmesg | wc -l")).toBe(logged);
    },
    3 * MINUTES,
  );
});
