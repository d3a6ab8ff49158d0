import { afterAll, beforeAll, expect, it } from "vitest";
import { VfioUserCard } from "./cards.js";
import { describeWithQemu } from "./lab.js";
import type { Line } from "./line.js";
import { Qemu } from "./qemu.js";
import { plugged, slot, transfersBothWays } from "./tty.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const ROOT_PORT = { id: "port0", addr: "0x10" };
const PLACE = slot(ROOT_PORT);

// With an IOMMU in the guest, QEMU maps and unmaps memory as the guest's drivers do, a lot of it that was never
// mapped, and the guest can hand the card to a VFIO of its own.
describeWithQemu("with an Intel IOMMU in the guest", (lab) => {
  const undo = new Undo();
  let card: VfioUserCard;
  let line: Line;
  let qemu: Qemu;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    card = await VfioUserCard.start(scratch, "card");
    undo.add(() => card.stop());
    line = await card.line();
    qemu = await Qemu.start(lab, {
      iommu: true,
      rootPorts: [ROOT_PORT],
      devices: [plugged(card, PLACE)],
      modules: ["vfio-pci", "vfio_iommu_type1"],
    });
    undo.add(() => qemu.stop());
  }, 3 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  it(
    "the card is in a group of its own, and works",
    async () => {
      expect(await qemu.guest.ok(`ls ${PLACE.sysfs}/iommu_group/devices | wc -l`)).toBe("1");
      await transfersBothWays(qemu.guest, PLACE, line);
    },
    MINUTES,
  );

  it(
    "the guest's own VFIO takes the card and gives it back",
    async () => {
      await qemu.guest.ok(`
      modprobe vfio-pci
      cd ${PLACE.sysfs}
      function=$(basename $PWD)
      echo vfio-pci >driver_override
      echo $function >driver/unbind
      echo $function >/sys/bus/pci/drivers_probe
      [ $(basename $(readlink driver)) = vfio-pci ]
      ls /dev/vfio/$(basename $(readlink iommu_group))`);
      await qemu.guest.ok(`
      cd ${PLACE.sysfs}
      function=$(basename $PWD)
      echo >driver_override
      echo $function >driver/unbind
      echo $function >/sys/bus/pci/drivers_probe`);
      await transfersBothWays(qemu.guest, PLACE, line);
    },
    MINUTES,
  );
});
