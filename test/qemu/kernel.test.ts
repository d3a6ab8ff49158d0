import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ArcMatrix } from "./arcs.js";
import { vfiokit } from "./cards.js";
import { guestNode, type GuestNode } from "./guest-node.js";
import { describeWithQemu } from "./lab.js";
import { mttyFacts, mttyMatrix } from "./mtty-facts.js";
import { mttyModule } from "./mtty.js";
import { Qemu } from "./qemu.js";
import { slot } from "./tty.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const UUIDS = ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"] as const;
const PORT = { id: "port0", addr: "0x10" };
const COUNTER = slot(PORT);

/** A real kernel's VFIO, used by vfiokit in the guest: Linux's mtty, and our counter behind QEMU's vfio-user. */
describeWithQemu("vfiokit on a kernel's VFIO", (lab) => {
  const undo = new Undo();
  let node: GuestNode;
  let qemu: Qemu;
  let socket: string;
  let address: string;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    socket = scratch.outside("counter");
    const options = ["--functions", "1", "--scratch", "whole", "--msix"];
    const server = vfiokit("serve", "counter", ...options, "--socket-path", socket);
    undo.add(() => server.kill("SIGTERM"));
    await server.printed(/-device/);
    const arcs = fileURLToPath(new URL("programs/arcs.ts", import.meta.url));
    node = await guestNode(scratch.outside("bundle"), { arcs });
    const counter = { type: "unix", path: scratch.inside("counter") };
    qemu = await Qemu.start(lab, {
      memory: 1024,
      iommu: true,
      rootPorts: [PORT],
      devices: [{ driver: "vfio-user-pci", id: "counter", bus: PORT.id, socket: counter }],
      fullKernel: true,
      modules: ["vfio-pci", "vfio_iommu_type1", "mdev"],
      files: new Map([...node.files, ["mtty.ko", mttyModule(lab)]]),
      // mtty is not Debian's.
      allowOnConsole: [/loading out-of-tree module taints kernel/],
    });
    undo.add(() => qemu.stop());
    await qemu.guest.ok(`
      modprobe vfio_iommu_type1 && modprobe vfio-pci && modprobe mdev && insmod /mtty.ko
      cd /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1
      for uuid in ${UUIDS.join(" ")}; do echo $uuid >create; done`);
    address = await qemu.guest.ok(`basename ${COUNTER.sysfs}`);
  }, 5 * MINUTES);
  afterAll(() => undo.run(), MINUTES);

  const vfiokitInGuest = (words: string) => qemu.guest.ok(`${node.command("vfiokit")} ${words}`, 90);
  const json = async (words: string) => JSON.parse(await vfiokitInGuest(`${words} --json`)) as unknown;

  describe("mtty", () => {
    const name = `mdev:${UUIDS[0]}`;
    let matrix: ArcMatrix;

    it(
      "answers every arc and every reset as it was recorded",
      async () => {
        const output = await qemu.guest.ok(`${node.command("arcs")} ${name}`, 120);
        matrix = JSON.parse(output) as ArcMatrix;
        expect(matrix).toEqual(mttyMatrix());
      },
      3 * MINUTES,
    );

    it(
      "is shown by info, with the features that were recorded",
      async () => {
        const features = Object.entries(mttyFacts.features).map(([feature, operations]) => {
          const has: readonly string[] = operations;
          return { name: feature, get: has.includes("get"), set: has.includes("set") };
        });
        expect(await json(`info ${name}`)).toMatchObject({
          address: name,
          kernel: { iommu: "type1v2" },
          device: { pci: true },
          features: expect.arrayContaining(features) as unknown,
          migration: { stopCopy: true, p2p: true, preCopy: true, state: "RUNNING" },
        });
      },
      2 * MINUTES,
    );

    it(
      "is saved, and restored into another",
      async () => {
        const saved = await json(`save ${name} /tmp/image`);
        expect(saved).toMatchObject({ socket: name, identity: { vendor: 0x4348, device: 0x3253 } });
        expect(await json(`restore /tmp/image mdev:${UUIDS[1]}`)).toMatchObject({
          socket: `mdev:${UUIDS[1]}`,
        });
      },
      2 * MINUTES,
    );
  });

  describe("our counter, in the guest's kernel", () => {
    it(
      "is listed, bound to vfio-pci, and shown as its socket shows it",
      async () => {
        const before = await json("list");
        expect(before).toMatchObject({ iommu: true });
        expect(await vfiokitInGuest(`bind ${address} --dry-run`)).toContain("/driver_override");
        expect(await json(`bind ${address}`)).toMatchObject({ address, to: "vfio-pci" });
        const { functions } = (await json("list")) as { functions: { address: string }[] };
        expect(functions.find((one) => one.address === address)).toMatchObject({
          driver: "vfio-pci",
          vendor: 0x1b36,
          device: 0x0102,
          members: [address],
        });
        const report = await json(`info vfio:${address}`);
        expect(report).toMatchObject({ device: { pci: true, reset: true }, kernel: { iommu: "type1v2" } });
      },
      2 * MINUTES,
    );

    it(
      "is reset, by itself and by its slot",
      async () => {
        expect(await vfiokitInGuest(`reset vfio:${address}`)).toBe(`reset vfio:${address}`);
        expect(await vfiokitInGuest(`reset --hot vfio:${address}`)).toBe(`reset ${address}`);
      },
      2 * MINUTES,
    );

    it(
      "is given back",
      async () => {
        expect(await vfiokitInGuest(`unbind ${address}`)).toBe(
          `${address}: from vfio-pci to whichever driver the kernel has for it`,
        );
        const { status, output } = await qemu.guest.sh(`${node.command("vfiokit")} info vfio:${address}`, 60);
        expect([status, output]).toEqual([
          1,
          `error: ENODEV: vfio:${address}: no driver has it: vfiokit bind ${address}\n`,
        ]);
      },
      2 * MINUTES,
    );
  });
});
