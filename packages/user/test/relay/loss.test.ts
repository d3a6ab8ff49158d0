/** The server behind a relay goes away. Its client waits for the next one, and goes on. */

import { describe, expect, it } from "vitest";
import { IrqIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { Task } from "@vfiokit/lockdep";
import { openFds, openMappings } from "@vfiokit/user/linux";
import type { VfioUserClient } from "../../src/client/index.js";
import type { Relay, RelayOptions } from "../../src/relay/index.js";
import { BAR_MEMORY, BAR_REGISTERS, CONFIG, enableBusMaster, INTERRUPT, VALUE } from "../server/support.js";
import { Place, type TestServer } from "./support.js";

const bytesOf = (value: number): Uint8Array => Uint8Array.from([value, 0, 0, 0]);

interface Setup {
  readonly place: Place;
  readonly a: TestServer;
  readonly relay: Relay;
  readonly client: VfioUserClient;
}

async function setup(options: Partial<RelayOptions> = {}): Promise<Setup> {
  const place = new Place();
  const a = await place.server();
  const relay = place.relay(a.path, { onLoss: "none", ...options });
  return { place, a, relay, client: await place.client() };
}

async function value(client: VfioUserClient): Promise<number> {
  const into = new Uint8Array(4);
  await client.regionRead(BAR_REGISTERS, VALUE, into);
  return into[0]!;
}

async function command(client: VfioUserClient): Promise<number> {
  const into = new Uint8Array(2);
  await client.regionRead(CONFIG, PciHeader.COMMAND, into);
  return into[0]!;
}

/** Ends a server as its death would: nothing is said to anybody. The relay has noticed when this returns. */
async function kill(place: Place, server: TestServer): Promise<void> {
  const lost = (): number => place.log.filter((line) => line.includes(" is lost: ")).length;
  const before = lost();
  await server.close();
  await expect.poll(lost).toBe(before + 1);
}

describe("the next server", () => {
  it("at the same path takes over, and requests that were held go to it in order", async () => {
    const { place, a, client } = await setup();
    await kill(place, a);
    const writes = [1, 2, 3].map((v) => client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(v)));
    const next = await place.serverAt(a.path);
    await Promise.all(writes);
    expect(next.fn.writes).toEqual(["0=1/4", "0=2/4", "0=3/4"]);
  });

  it("at another path takes over, where one was named", async () => {
    const place = new Place();
    const a = await place.server();
    const b = await place.server();
    const relay = place.relay(a.path, { onLoss: "none", nextPath: b.path });
    const client = await place.client();
    await kill(place, a);
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(5));
    expect(b.fn.value).toBe(5);
    expect(relay.serverPath).toBe(b.path);
  });

  it("is started, where the relay was told how", async () => {
    const place = new Place();
    const a = await place.server();
    place.relay(a.path, { onLoss: "none", startServer: (path) => void place.serverAt(path) });
    const client = await place.client();
    await kill(place, a);
    expect(await value(client)).toBe(0);
  });

  it("that is another device is passed over", async () => {
    const place = new Place();
    const a = await place.server();
    const small = await place.server({ maxDataXferSize: 4096 });
    place.relay(a.path, { onLoss: "none", nextPath: small.path });
    const client = await place.client();
    await kill(place, a);
    const read = value(client);
    await expect.poll(() => place.log.join("\n")).toContain("max_data_xfer_size is 1048576: it is 4096");
    await place.serverAt(a.path);
    expect(await read).toBe(0);
  });

  it("is told of the client's memory and interrupts", async () => {
    const { place, a, client } = await setup();
    const memory = client.shareMemory(0x1000);
    memory.bytes[3] = 7;
    await client.dmaMap({ address: 0x10000n, memory });
    const msix = client.irq(IrqIndex.MSIX);
    await msix.enable(2);
    await msix.mask(0);
    await kill(place, a);
    const { device } = await place.serverAt(a.path);
    await client.getInfo();
    const into = new Uint8Array(4);
    await device.dma.read(0x10000n, into, new Task("device"));
    expect(into[3]).toBe(7);
    const seen: number[] = [];
    msix.onTrigger((vector) => seen.push(vector));
    const next = msix.next();
    device.irqs.msix.raise(0);
    device.irqs.msix.raise(1);
    expect(await next).toBe(1);
    await client.getInfo();
    expect(seen).toEqual([1]);
  });

  it("finds its configuration space as the guest has set it up", async () => {
    const { place, a, client } = await setup();
    await client.regionWrite(CONFIG, PciHeader.COMMAND, Uint8Array.of(PciCommand.MEMORY, 0));
    await client.regionWrite(CONFIG, PciHeader.BASE_ADDRESS_0 + 4 * BAR_MEMORY, bytesOf(0).fill(0x40));
    await kill(place, a);
    const { device } = await place.serverAt(a.path);
    expect(await command(client)).toBe(PciCommand.MEMORY);
    // A BAR of 16 KiB: its low bits are fixed.
    expect(device.config.get32(PciHeader.BASE_ADDRESS_0 + 4 * BAR_MEMORY) & ~0x3fff).toBe(0x40404000);
    // And its memory BAR answers.
    await client.regionRead(BAR_MEMORY, 0, new Uint8Array(4));
  });

  it("can be lost as well", async () => {
    const { place, a, client } = await setup();
    await kill(place, a);
    const second = await place.serverAt(a.path);
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(2));
    await kill(place, second);
    await place.serverAt(a.path);
    expect(await value(client)).toBe(0);
  });
});

describe("requests that the lost server had", () => {
  it("are sent again where that is safe, else answered with an error", async () => {
    const place = new Place();
    const a = await place.server();
    const next = await place.server();
    const relay = place.relay(a.path, { onLoss: "none", nextPath: next.path });
    const client = await place.client();
    // A reset that does not end: what comes behind it stays at the server.
    let entered!: () => void;
    const resetting = new Promise<void>((resolve) => (entered = resolve));
    let endReset!: () => void;
    const gate = new Promise<void>((resolve) => (endReset = resolve));
    Object.defineProperty(a.fn, "resetGate", {
      get() {
        entered();
        return gate;
      },
    });
    const outcome = async (request: Promise<unknown>): Promise<string> =>
      request.then(
        () => "done",
        (error: unknown) => (error as { code: string }).code,
      );
    const memory = client.shareMemory(0x1000);
    const requests = [
      client.reset(),
      client.regionRead(CONFIG, 0, new Uint8Array(4)),
      client.regionRead(BAR_REGISTERS, VALUE, new Uint8Array(4)),
      client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(1)),
      client.dmaMap({ address: 0x1000n, memory }),
      client.irq(IrqIndex.MSIX).enable(2),
      client.irq(IrqIndex.INTX).trigger(),
      client.getIrqInfo(IrqIndex.MSIX),
      client.migration.setState("STOP"),
    ].map(outcome);
    await resetting;
    await expect.poll(() => relay.status.underWay).toBe(requests.length);
    const dead = kill(place, a);
    expect(await Promise.all(requests)).toEqual([
      "done",
      "done",
      "done",
      "EIO", // a write
      "done",
      "done",
      "EIO", // an interrupt for a test
      "done",
      "EIO", // a migration state
    ]);
    expect(next.fn.writes).toEqual([]);
    expect(next.fn.resets).toBe(1);
    enableBusMaster(next.device);
    await next.device.dma.read(0x1000n, new Uint8Array(4), new Task("device"));
    endReset();
    await dead;
  });
});

describe("without a next server", () => {
  it("requests are answered with an error in time, until there is one", async () => {
    const { place, a, client } = await setup({ replyLimit: 500 });
    await kill(place, a);
    await expect(value(client)).rejects.toMatchObject({ code: "EIO" });
    await expect(client.getInfo()).rejects.toMatchObject({ code: "EIO" });
    await place.serverAt(a.path);
    await expect.poll(() => value(client).catch(() => "not yet"), { timeout: 5000 }).toBe(0);
  });

  it("the client is disconnected when the time is over", async () => {
    const { place, a, client } = await setup({ timeout: 50 });
    await kill(place, a);
    await expect(value(client)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(place.log.join("\n")).toContain("within 50 ms");
  });

  it("a client that leaves ends the search, and leaves nothing behind", async () => {
    const place = new Place();
    const a = await place.server();
    place.relay(a.path, { onLoss: "none" });
    const resources = () => ({ fds: openFds(), mappings: openMappings() });
    const before = resources();
    const client = await place.client();
    const memory = client.shareMemory(0x1000);
    await client.dmaMap({ address: 0x1000n, memory });
    await client.irq(IrqIndex.MSIX).enable(2);
    await kill(place, a);
    client.close();
    memory[Symbol.dispose]();
    await place.serverAt(a.path);
    await expect.poll(resources).toEqual(before);
  });
});

describe("the state of the device", () => {
  const HOUR = 3_600_000;

  it("is that of the last snapshot", async () => {
    const { place, a, relay, client } = await setup({ snapshotEvery: HOUR });
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
    expect(await relay.snapshot()).toBe(true);
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(43));
    await kill(place, a);
    await place.serverAt(a.path);
    expect(await value(client)).toBe(42);
    expect(place.log.join("\n")).toContain("goes on with the last snapshot: state was lost");
  });

  it("is not lost where nothing was asked of it since", async () => {
    const { place, a, relay, client } = await setup({ snapshotEvery: HOUR, onLoss: "error" });
    const err = client.irq(IrqIndex.ERR);
    await err.enable(1);
    const seen: number[] = [];
    err.onTrigger((_vector, count) => seen.push(count));
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
    await relay.snapshot();
    await kill(place, a);
    await place.serverAt(a.path);
    expect(await value(client)).toBe(42);
    expect(seen).toEqual([]);
  });

  it("that was lost is told to the client as a device error", async () => {
    const { place, a, client } = await setup({ onLoss: "error" });
    const err = client.irq(IrqIndex.ERR);
    await err.enable(1);
    const told = err.next();
    await kill(place, a);
    await place.serverAt(a.path);
    expect(await told).toBe(0);
    expect(await value(client)).toBe(0);
  });

  it("is that after a reset, where that was chosen, whatever snapshot there is", async () => {
    const { place, a, relay, client } = await setup({ snapshotEvery: HOUR, onLoss: "reset" });
    await client.regionWrite(CONFIG, PciHeader.COMMAND, Uint8Array.of(PciCommand.IO, 0));
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
    await relay.snapshot();
    await kill(place, a);
    const next = await place.serverAt(a.path);
    expect(await value(client)).toBe(0);
    expect(await command(client)).toBe(PciCommand.IO);
    expect(next.fn.resets).toBe(1);
  });

  it("is kept by a server that only lost the connection", async () => {
    const { place, a, client } = await setup({ onLoss: "error" });
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(42));
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
    await a.dropClient();
    expect(await value(client)).toBe(42);
    expect(place.log.join("\n")).toContain("nothing is lost");
  });

  it("is not taken in the middle of a move", async () => {
    const { place, relay, client } = await setup({ snapshotEvery: HOUR });
    const b = await place.server();
    let taken: boolean | undefined;
    await relay.migrate(b.path, {
      maxDowntime_ms: 100,
      maxRounds: 3,
      async fault(point) {
        if (point.startsWith("precopy:target-ready")) taken = await relay.snapshot();
      },
    });
    expect(taken).toBe(false);
    expect(await value(client)).toBe(0);
  });

  it("snapshots do not disturb the client", async () => {
    const { a, relay, client } = await setup({ snapshotEvery: HOUR });
    const intx = client.irq(IrqIndex.INTX);
    await intx.enable(1);
    const seen: number[] = [];
    const first = intx.next();
    intx.onTrigger((_vector, count) => seen.push(count));
    await client.regionWrite(BAR_REGISTERS, INTERRUPT, bytesOf(1));
    await first;
    const writes = Array.from({ length: 50 }, (_, i) => client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(i)));
    expect(await relay.snapshot()).toBe(true);
    await Promise.all(writes);
    expect(a.fn.value).toBe(49);
    expect(a.fn.writes).toHaveLength(51);
    expect(seen).toEqual([1]);
  });
});

describe("--on-loss error", () => {
  it("no garbled byte: what is written for the lost state reaches no device until the client resets it", async () => {
    const { place, a, client } = await setup({ onLoss: "error" });
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(1));
    await kill(place, a);
    // Some wait for the next server, others are written when it is there.
    const waiting = [2, 3].map((v) => client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(v)));
    const next = await place.serverAt(a.path);
    for (const write of waiting) await expect(write).rejects.toMatchObject({ code: "EIO" });
    await expect(client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(4))).rejects.toMatchObject({ code: "EIO" });
    // It can be looked at, and its configuration written.
    expect(await value(client)).toBe(0);
    await client.regionWrite(CONFIG, PciHeader.COMMAND, Uint8Array.of(PciCommand.MEMORY, 0));
    expect(await command(client)).toBe(PciCommand.MEMORY);
    expect(next.fn.writes).toEqual([]);
    await client.reset();
    await client.regionWrite(CONFIG, PciHeader.COMMAND, Uint8Array.of(PciCommand.MEMORY, 0));
    await client.regionWrite(BAR_REGISTERS, VALUE, bytesOf(5));
    expect(next.fn.writes).toEqual(["0=5/4"]);
  });
});
