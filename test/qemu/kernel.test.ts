import { fileURLToPath } from "node:url";
import { inspect, type DeviceReport } from "vfiokit";
import { VfioUserClient } from "@vfiokit/user";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ArcMatrix } from "./arcs.js";
import { vfiokit } from "./cards.js";
import { guestNode, type GuestNode } from "./guest-node.js";
import { describeWithQemu } from "./lab.js";
import { mttyFacts, mttyMatrix } from "./mtty-facts.js";
import { mttyModule } from "./mtty.js";
import { Qemu } from "./qemu.js";
import { slot } from "./tty.js";
import { IOVA, useCounter, type CounterUse } from "./use-counter.js";
import { Undo } from "./undo.js";

const MINUTES = 60_000;
const UUIDS = ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"] as const;
const PORT = { id: "port0", addr: "0x10" };
const COUNTER = slot(PORT);

/** What a report has of the device itself: what may be done with its regions and interrupts is up to who is asked. */
function looks({ device, config, regions, irqs }: DeviceReport) {
  return {
    device,
    identity: config && [config.vendor, config.device, config.subsystem, config.class, config.revision],
    capabilities: config?.capabilities.map(({ id }) => id),
    regions: regions.map(({ index, size }) => [index, size]),
    irqs: irqs.map(({ index, count }) => [index, count]),
  };
}

/** A real kernel's VFIO, used by vfiokit in the guest: Linux's mtty, and our counter behind QEMU's vfio-user. */
describeWithQemu("vfiokit on a kernel's VFIO", (lab) => {
  const undo = new Undo();
  let node: GuestNode;
  let qemu: Qemu;
  let socket: string;
  let address: string;
  /** What the counter's socket says of it, and what it does there. */
  let served: DeviceReport;
  let used: CounterUse;

  beforeAll(async () => {
    const scratch = lab.scratch();
    undo.add(() => scratch[Symbol.dispose]());
    socket = scratch.outside("counter");
    const options = ["--functions", "1", "--scratch", "whole", "--msix"];
    const server = vfiokit("serve", "counter", ...options, "--socket-path", socket);
    undo.add(() => server.kill("SIGTERM"));
    await server.printed(/-device/);
    // Before QEMU takes the socket.
    {
      using client = await VfioUserClient.connect(socket);
      const memory = client.shareMemory(4096);
      await client.dmaMap({ address: BigInt(IOVA), memory });
      used = await useCounter(client, memory.bytes);
    }
    served = await inspect(socket);
    const program = (name: string) => fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url));
    node = await guestNode(scratch.outside("bundle"), {
      arcs: program("arcs"),
      "use-counter": program("use-counter"),
    });
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
        const report = (await json(`info vfio:${address}`)) as DeviceReport;
        expect(report).toMatchObject({ address: `vfio:${address}`, kernel: { iommu: "type1v2" } });
        expect(looks(report)).toEqual(looks(served));
      },
      2 * MINUTES,
    );

    it(
      "interrupts, writes to memory, is mapped and reset as over its socket, and refuses with a reason",
      async () => {
        const output = await qemu.guest.ok(`${node.command("use-counter")} vfio:${address}`, 60);
        const { use, hot, refused } = JSON.parse(output) as Record<"use" | "hot" | "refused", unknown>;
        expect(use).toEqual(used);
        expect(hot).toEqual({ affected: [address], count: 0 });
        const busy: unknown = expect.stringMatching(
          /^EBUSY: vfio:.*: open\(\/dev\/vfio\/\d+\): EBUSY: another process has it open$/,
        );
        expect(refused).toEqual([
          busy,
          "EEXIST: VFIO_IOMMU_MAP_DMA: the kernel answered EEXIST: a part of the range is mapped already",
          "ENOENT: VFIO_IOMMU_UNMAP_DMA: 0 of 4096 bytes were mapped",
          "EINVAL: pread of 4 bytes at 0x0 of region 1: the kernel answered EINVAL: the region has no such bytes",
        ]);
        expect(used).toEqual({ vector: 0, status: 1, memory: 5, mapped: [0x5a, 0xa5], afterReset: [0, 0] });
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
