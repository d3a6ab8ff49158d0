import { describe, expect, it } from "vitest";
import { Errno, IrqIndex } from "@vfiokit/core";
import { signalEventFd } from "@vfiokit/user/linux";
import { IrqSetFlags, type RequestPayload } from "@vfiokit/user/wire";
import { connected } from "./fake-server.js";

type IrqSet = RequestPayload<"DEVICE_SET_IRQS">;

describe("interrupts", () => {
  it("each vector has an eventfd that the server signals", async () => {
    const { client, server } = await connected();
    const irq = client.irq(IrqIndex.MSIX);
    await irq.enable(3);
    expect(client.irq(IrqIndex.MSIX)).toBe(irq);
    expect(server.requests.at(-1)).toMatchObject({
      payload: { argsz: 20, flags: 0x24, index: 2, start: 0, count: 3, data: new Uint8Array() },
    });
    expect(server.fds).toHaveLength(3);
    const seen: number[] = [];
    const off = irq.onTrigger((vector, count) => seen.push(vector, count));
    const next = irq.next();
    signalEventFd(server.fds[2]!);
    signalEventFd(server.fds[2]!);
    expect(await next).toBe(2);
    expect(seen).toEqual([2, 2]);
    off();
    const again = irq.next();
    signalEventFd(server.fds[0]!);
    expect(await again).toBe(0);
    expect(seen).toEqual([2, 2]);
  });

  it("more vectors than max_msg_fds go in several messages", async () => {
    const { client, server } = await connected();
    await client.irq(IrqIndex.MSIX).enable(20);
    const sets = server.requests.slice(1).map(({ payload }) => payload as IrqSet);
    expect(sets.map(({ start, count }) => [start, count])).toEqual([
      [0, 8],
      [8, 8],
      [16, 4],
    ]);
    expect(server.fds).toHaveLength(20);
    const next = client.irq(IrqIndex.MSIX).next();
    signalEventFd(server.fds[17]!);
    expect(await next).toBe(17);
  });

  it("a server that takes no descriptors", async () => {
    const capabilities = { max_msg_fds: 0 };
    const { client } = await connected({ VERSION: () => ({ major: 0, minor: 1, data: { capabilities } }) });
    await expect(client.irq(0).enable(1)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
  });

  it("a server that refuses leaves nothing behind", async () => {
    const { client } = await connected({ DEVICE_SET_IRQS: () => Errno.EINVAL });
    await expect(client.irq(0).enable(1)).rejects.toMatchObject({ code: "EINVAL" });
    expect(client.irq(0).enabled).toBe(0);
  });

  it("mask, unmask, trigger, disable, booleans", async () => {
    const { client, server } = await connected();
    const irq = client.irq(IrqIndex.INTX);
    await irq.enable(1);
    await irq.mask();
    await irq.unmask();
    await irq.trigger();
    await irq.setEach("trigger", 0, [true, false]);
    await irq.disable();
    const sets = server.requests.slice(2).map(({ payload }) => payload as IrqSet);
    const { DATA_NONE, DATA_BOOL, ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = IrqSetFlags;
    expect(sets.map(({ flags, start, count }) => [flags, start, count])).toEqual([
      [DATA_NONE | ACTION_MASK, 0, 1],
      [DATA_NONE | ACTION_UNMASK, 0, 1],
      [DATA_NONE | ACTION_TRIGGER, 0, 1],
      [DATA_BOOL | ACTION_TRIGGER, 0, 2],
      [DATA_NONE | ACTION_TRIGGER, 0, 0],
    ]);
    expect(sets[3]).toMatchObject({ argsz: 22, data: new Uint8Array([1, 0]) });
    expect(irq.enabled).toBe(0);
  });

  it("waiting for a trigger can be given up", async () => {
    const { client } = await connected();
    await expect(client.irq(0).next(AbortSignal.abort())).rejects.toMatchObject({ code: "ECANCELED" });
    await expect(client.irq(0).next(AbortSignal.timeout(1))).rejects.toMatchObject({ code: "ECANCELED" });
  });

  it("an index with more vectors than PCI has is nonsense", async () => {
    const { client } = await connected({
      DEVICE_GET_IRQ_INFO: ({ index }) => ({ argsz: 16, flags: 1, index, count: 0xffff_ffff }),
    });
    await expect(client.getIrqInfo(2)).rejects.toMatchObject({ code: "EPROTO" });
  });
});
