import { afterAll, beforeAll, expect, it } from "vitest";
import { VfioUserCard } from "./cards.js";
import { describeWithQemu, type Scratch } from "./lab.js";
import { Line } from "./line.js";
import { Qemu } from "./qemu.js";
import { plugged, rootBus, transfersBothWays } from "./tty.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const PLACE = rootBus("0x18");

// What a server's or a client's death leaves behind must not be in the way of the next one. The tests follow
// one another: each takes over what the one before left.
describeWithQemu("a sudden end", (lab) => {
  const undo = new Undo();
  let scratch: Scratch;
  let card: VfioUserCard;
  let line: Line;
  let qemu: Qemu;

  const attach = async (): Promise<Qemu> => {
    const machine = await Qemu.start(lab, { devices: [plugged(card, PLACE)] });
    undo.add(() => machine.process.kill());
    await transfersBothWays(machine.guest, PLACE, line);
    return machine;
  };

  beforeAll(async () => {
    scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    card = await VfioUserCard.start(scratch, "card");
    line = await card.line();
    undo.add(() => card.stop());
  }, MINUTES);
  afterAll(() => undo.run(), MINUTES);

  it(
    "of QEMU leaves the server to serve the next one",
    async () => {
      const first = await attach();
      await first.process.kill("SIGKILL");
      qemu = await attach();
    },
    3 * MINUTES,
  );

  it(
    "of the server leaves the guest running",
    async () => {
      // The port is closed: QEMU 11.1 aborts (error_setv: Assertion `*errp == NULL') when it loses its server
      // while it waits for a reply, which is nothing that a server could prevent.
      expect(await card.server.kill("SIGKILL")).toBe("SIGKILL");
      expect(await qemu.guest.ok("echo alive")).toBe("alive");
      await qemu.stop();
    },
    MINUTES,
  );

  it(
    "of the server lets a new one at the same path serve a new QEMU",
    async () => {
      // The socket file of the dead server is no obstacle.
      card = await VfioUserCard.start(scratch, "card");
      line = await card.line();
      const next = await attach();
      await next.stop();
    },
    3 * MINUTES,
  );
});
