/** The device goes from one server to another, and its client does not notice. */

import { describe, expect, it } from "vitest";
import { IrqIndex } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { createEventFd, openFds, openMappings, signalEventFd } from "@vfiokit/user/linux";
import { IrqSetFlags } from "@vfiokit/user/wire";
import type { VfioUserClient } from "../../src/client/index.js";
import type { MigrateEvent } from "../../src/migrate/index.js";
import type { MoveOptions, Relay } from "../../src/relay/index.js";
import { BAR_REGISTERS, INTERRUPT, VALUE } from "../server/support.js";
import { Place, type TestServer } from "./support.js";

const OPTIONS: MoveOptions = { maxDowntime_ms: 100, maxRounds: 5 };

const bytesOf = (value: number): Uint8Array => Uint8Array.from([value, 0, 0, 0]);

interface Setup {
  readonly place: Place;
  readonly a: TestServer;
  readonly b: TestServer;
  readonly relay: Relay;
  readonly client: VfioUserClient;
}

async function setup(clientOptions: Parameters<Place["client"]>[0] = {}): Promise<Setup> {
  const place = new Place();
  const a = await place.server();
  const b = await place.server();
  const relay = place.relay(a.path);
  return { place, a, b, relay, client: await place.client(clientOptions) };
}

async function value(client: VfioUserClient): Promise<number> {
  const into = new Uint8Array(4);
  await client.regionRead(BAR_REGISTERS, VALUE, into);
  return into[0]!;
}

describe("a move", () => {
  it("takes the state along, and the client's further requests go to the new server", async () => {
    const { a, b, relay, client } = await setup();
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
    const events: MigrateEvent[] = [];
    const result = await relay.migrate(b.path, OPTIONS, (event) => events.push(event));
    expect(result).toMatchObject({ status: "migrated", restarts: 0 });
    expect(events).toContainEqual(expect.objectContaining({ event: "check", recoverable: true }));
    expect(await value(client)).toBe(42);
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(43));
    expect([a.fn.value, b.fn.value]).toEqual([0, 43]);
    expect(relay.serverPath).toBe(b.path);
  });

  it("ten times back and forth", async () => {
    const { a, b, relay, client } = await setup();
    for (let round = 1; round <= 10; round++) {
      await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(round));
      await relay.migrate(round % 2 ? b.path : a.path, OPTIONS);
      expect(await value(client)).toBe(round);
    }
  });

  it("tells the new server of the client's memory, as it is at the stop", async () => {
    const { b, relay, client } = await setup();
    const memory = client.shareMemory(0x3000);
    memory.bytes.fill(7);
    const message = { bytes: new Uint8Array(0x1000).fill(9) };
    await client.dmaMap({ address: 0x10000n, memory, size: 0x1000 });
    await client.dmaMap({ address: 0x20000n, memory, offset: 0x1000, size: 0x1000 });
    await client.dmaMap({ address: 0x30000n, memory: message });
    let done = false;
    await relay.migrate(b.path, {
      ...OPTIONS,
      // The new server has been told of the maps, the old one still runs.
      async fault(point) {
        if (done || !point.startsWith("precopy:target-ready")) return;
        done = true;
        await client.dmaUnmap(0x20000n, 0x1000n);
        await client.dmaMap({ address: 0x20000n, memory, offset: 0x2000, size: 0x1000, writable: false });
      },
    });
    expect(done).toBe(true);
    memory.bytes[0x2004] = 8;
    const { dma } = b.device;
    const task = new Task("device");
    const read = async (address: bigint): Promise<number> => {
      const into = new Uint8Array(1);
      await dma.read(address, into, task);
      return into[0]!;
    };
    expect([await read(0x10000n), await read(0x20004n), await read(0x30000n)]).toEqual([7, 8, 9]);
    await expect(dma.write(0x20004n, bytesOf(1), task)).rejects.toMatchObject({ code: "EACCES" });
    await dma.write(0x30001n, bytesOf(5), task);
    expect(message.bytes[1]).toBe(5);
  });

  it("works with a second socket for the server's commands", async () => {
    const { b, relay, client } = await setup({ twinSocket: true });
    await client.dmaMap({ address: 0x30000n, memory: { bytes: new Uint8Array(0x1000).fill(9) } });
    await relay.migrate(b.path, OPTIONS);
    const into = new Uint8Array(1);
    await b.device.dma.read(0x30000n, into, new Task("device"));
    expect(into[0]).toBe(9);
  });

  it("leaves no descriptor and no mapping behind", async () => {
    const { a, b, relay, client } = await setup();
    const memory = client.shareMemory(0x3000);
    await client.dmaMap({ address: 0x10000n, memory });
    await client.irq(IrqIndex.MSIX).enable(3);
    const resources = () => ({ fds: openFds(), mappings: openMappings() });
    const before = resources();
    for (let round = 0; round < 4; round++) await relay.migrate(round % 2 ? a.path : b.path, OPTIONS);
    await expect.poll(resources).toEqual(before);
  });
});

describe("interrupts", () => {
  it("of the new server arrive where those of the old one did", async () => {
    const { b, relay, client } = await setup();
    const msix = client.irq(IrqIndex.MSIX);
    await msix.enable(3);
    await relay.migrate(b.path, OPTIONS);
    const next = msix.next();
    b.device.irqs.msix.raise(2);
    expect(await next).toBe(2);
  });

  it("that are pending behind the client's mask stay behind it, and are delivered once", async () => {
    const { a, b, relay, client } = await setup();
    const msix = client.irq(IrqIndex.MSIX);
    await msix.enable(3);
    const seen: [number, number][] = [];
    msix.onTrigger((vector, count) => seen.push([vector, count]));
    await msix.mask(1);
    a.device.irqs.msix.raise(1);
    await relay.migrate(b.path, OPTIONS);
    await client.getInfo();
    expect(seen).toEqual([]);
    const next = msix.next();
    await msix.unmask(1);
    expect(await next).toBe(1);
    await client.getInfo();
    expect(seen).toEqual([[1, 1]]);
  });

  it("a line that is up and was delivered is not delivered again, until the client unmasks it", async () => {
    const { b, relay, client } = await setup();
    const intx = client.irq(IrqIndex.INTX);
    await intx.enable(1);
    const seen: number[] = [];
    const first = intx.next();
    intx.onTrigger((_vector, count) => seen.push(count));
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
    await first;
    await relay.migrate(b.path, OPTIONS);
    await client.getInfo();
    expect(seen).toEqual([1]);
    expect(b.device.irqs.intx.asserted).toBe(true);
    const again = intx.next();
    await intx.unmask();
    await again;
    expect(seen).toEqual([1, 1]);
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(0));
    await intx.unmask();
    expect(seen).toEqual([1, 1]);
  });

  it.each(["moves", "stays, after a move that failed"])(
    "a line is unmasked by the client's eventfd when the device %s",
    async (what) => {
      const { a, b, relay, client } = await setup();
      const intx = client.irq(IrqIndex.INTX);
      await intx.enable(1);
      using unmask = createEventFd();
      const flags = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_UNMASK;
      const request = { argsz: 20, flags, index: IrqIndex.INTX, start: 0, count: 1, data: new Uint8Array() };
      await client.command("DEVICE_SET_IRQS", request, { fds: [unmask] });
      const first = intx.next();
      await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
      await first;
      const seen: number[] = [];
      intx.onTrigger((_vector, count) => seen.push(count));
      const fails: MoveOptions["fault"] = (point) => {
        // Signalled while neither server runs: whoever runs next hears of it.
        if (point.startsWith("stop-copy:begin")) signalEventFd(unmask);
        if (point.startsWith("prepare:prepared") && what !== "moves") throw new Error("broken");
      };
      const again = intx.next();
      const moved = relay.migrate(b.path, { ...OPTIONS, fault: fails });
      if (what === "moves") await moved;
      else await expect(moved).rejects.toThrow("broken");
      await again;
      const { device } = what === "moves" ? b : a;
      expect(device.irqs.intx.asserted).toBe(true);
      const third = intx.next();
      signalEventFd(unmask);
      await third;
      expect(seen).toEqual([1, 1]);
    },
  );

  it("a line that was delivered and went down is not delivered either, until the client unmasks it", async () => {
    const { b, relay, client } = await setup();
    const intx = client.irq(IrqIndex.INTX);
    await intx.enable(1);
    const seen: number[] = [];
    const first = intx.next();
    intx.onTrigger((_vector, count) => seen.push(count));
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(0));
    await first;
    await relay.migrate(b.path, OPTIONS);
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
    expect(seen).toEqual([1]);
    const again = intx.next();
    await intx.unmask();
    await again;
    expect(seen).toEqual([1, 1]);
  });

  it("a line that the client has unmasked and that comes up after the move is delivered", async () => {
    const { b, relay, client } = await setup();
    const intx = client.irq(IrqIndex.INTX);
    await intx.enable(1);
    await relay.migrate(b.path, OPTIONS);
    const next = intx.next();
    b.device.irqs.intx.raise();
    expect(await next).toBe(0);
  });
});

describe("requests of the client", () => {
  it("that come during the stop are carried out by the new server, in order", async () => {
    const { a, b, relay, client } = await setup();
    let late: Promise<unknown> | undefined;
    await relay.migrate(b.path, {
      ...OPTIONS,
      fault(point) {
        if (!point.startsWith("stop-copy:begin")) return;
        late = Promise.all([1, 2, 3].map((v) => client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(v))));
      },
    });
    await late;
    expect(a.fn.writes).toEqual([]);
    expect(b.fn.writes).toEqual(["0=1/4", "0=2/4", "0=3/4"]);
  });

  it("that use the migration features meanwhile are refused", async () => {
    const { b, relay, client } = await setup();
    let refused: unknown;
    await relay.migrate(b.path, {
      ...OPTIONS,
      async fault(point) {
        if (!point.startsWith("precopy:target-ready")) return;
        refused = await client.migration.setState("STOP").catch((error: unknown) => error);
      },
    });
    expect(refused).toMatchObject({ code: "EBUSY" });
  });
});

describe("a move that fails", () => {
  const fails = (where: string): MoveOptions => ({
    ...OPTIONS,
    fault(point) {
      if (point.startsWith(where)) throw new Error(`broken at ${where}`);
    },
  });

  it.each(["check:begin", "precopy:target-ready", "stop:held", "stop-copy:begin", "prepare:prepared"])(
    "at %s leaves the old server at work, with what was held back",
    async (where) => {
      const { a, b, relay, client } = await setup();
      await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
      await expect(relay.migrate(b.path, fails(where))).rejects.toThrow(`broken at ${where}`);
      expect(await value(client)).toBe(42);
      expect(relay.serverPath).toBe(a.path);
      expect(relay.status.migrating).toBe(false);
      // And the next attempt succeeds.
      await relay.migrate(b.path, OPTIONS);
      expect(await value(client)).toBe(42);
      expect(relay.serverPath).toBe(b.path);
    },
  );

  it("for a new server that is not there changes nothing", async () => {
    const { place, relay, client } = await setup();
    await expect(relay.migrate(place.path("nobody"), OPTIONS)).rejects.toMatchObject({ code: "ENOENT" });
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(1));
    expect(await value(client)).toBe(1);
  });
});

it("a new server that the client would notice is refused, with the field and both values", async () => {
  const { place, relay, client } = await setup();
  const small = await place.server({ maxDataXferSize: 4096 });
  await expect(relay.migrate(small.path, OPTIONS)).rejects.toThrow(
    `the client was told that max_data_xfer_size is 1048576: it is 4096 at ${small.path}`,
  );
  expect(await value(client)).toBe(0);
});

it("without a client the device is moved as well, and the next client finds it there", async () => {
  const place = new Place();
  const a = await place.server();
  const b = await place.server();
  const relay = place.relay(a.path);
  a.fn.value = 42;
  await relay.migrate(b.path, OPTIONS);
  expect(await value(await place.client())).toBe(42);
  expect(b.fn.value).toBe(42);
});
