import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DeviceSet, IrqIndex, PciDevice, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { counterCard, counterRegisters as reg } from "@vfiokit/devices";
import { lockdep, Task } from "@vfiokit/lockdep";
import {
  AdminClient,
  AdminServer,
  ReplyError,
  DeviceAdmin,
  VfioUserClient,
  VfioUserServer,
} from "@vfiokit/user";
import { memfdMemory } from "@vfiokit/user/linux";
import { scratch } from "./support.js";

// A card of two functions, each served at a socket of its own, a client at each, and an administrator: everything
// that meets in a hot reset, over real sockets, with the lock validator watching.

const { BAR0, CONFIG } = RegionIndex;
const ADDRESS = 0x4000;
const PAGE = 4096;

/** A guest's driver of one function. */
class Driver {
  readonly memory;
  readonly interrupt;

  private constructor(readonly client: VfioUserClient) {
    this.memory = client.shareMemory(PAGE);
    this.interrupt = client.irq(IrqIndex.MSI);
  }

  /** Maps a page for the device, and gives it an interrupt. */
  static async attach(path: string): Promise<Driver> {
    const driver = new Driver(await VfioUserClient.connect(path));
    await driver.client.dmaMap({ address: BigInt(ADDRESS), size: PAGE, memory: driver.memory });
    await driver.interrupt.enable(1);
    await driver.enableMemory();
    return driver;
  }

  async enableMemory(): Promise<void> {
    await this.client.regionWrite(
      CONFIG,
      PciHeader.COMMAND,
      Uint8Array.of(PciCommand.MEMORY | PciCommand.MASTER, 0),
    );
  }

  async read(register: number): Promise<number> {
    const bytes = new Uint8Array(4);
    await this.client.regionRead(BAR0, register, bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  async write(register: number, value: number): Promise<void> {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    await this.client.regionWrite(BAR0, register, bytes);
  }

  /** Has the function count to `value`, and returns what it has then written to the page. */
  async countTo(value: number): Promise<number> {
    this.memory.bytes.fill(0);
    const interrupted = this.interrupt.next();
    await this.write(reg.PERIOD, 1);
    await this.write(reg.COUNT, value - 1);
    await this.write(reg.COMPARE, value);
    await this.write(reg.ADDRESS_LOW, ADDRESS);
    await this.write(reg.CONTROL, reg.CONTROL_ENABLE | reg.CONTROL_INTERRUPT);
    await interrupted;
    await this.write(reg.CONTROL, 0);
    return new DataView(this.memory.bytes.buffer, this.memory.bytes.byteOffset).getUint32(0, true);
  }
}

async function setUp() {
  const dir = scratch();
  const set = new DeviceSet();
  const cards = counterCard({ functions: 2 }).map(
    (definition) => new PciDevice(definition, { set, memory: memfdMemory }),
  );
  const servers = cards.map((card) => new VfioUserServer(card, { socketPath: dir.file(card.name) }));
  for (const server of servers) await server.listen();
  const ctl = new AdminServer(new DeviceAdmin(cards[1]!, servers[1]), { socketPath: dir.file("ctl") });
  ctl.listen();
  const drivers = await Promise.all(cards.map(({ name }) => Driver.attach(dir.file(name))));
  const admin = new AdminClient(dir.file("ctl"));
  return {
    migrating: drivers[0]!,
    other: drivers[1]!,
    admin,
    cards,
    async close() {
      admin.close();
      for (const { client } of drivers) client.close();
      await ctl.close();
      for (const server of servers) await server.close();
      for (const card of cards) await card.close(new Task("test"));
      dir[Symbol.dispose]();
    },
  };
}

let now: Awaited<ReturnType<typeof setUp>>;
beforeEach(async () => {
  lockdep.reset();
  lockdep.configure({ mode: "throw" });
  now = await setUp();
});
afterEach(async () => {
  await now.close();
  expect(lockdep.takeProblems()).toEqual([]);
});

const codeOf = (error: unknown) => (error instanceof ReplyError ? error.code : error);

describe("a hot reset while one function is being migrated", () => {
  it("ends the migration: RUNNING, and the old session answers ENODEV", async () => {
    const { migration } = now.migrating.client;
    await migration.setState("STOP_COPY");
    const begun = await migration.read(16);
    expect(begun).toHaveLength(16);
    expect(await now.admin.request({ command: "hot-reset" })).toEqual({
      functions: [
        { name: "counter.0", generation: 1 },
        { name: "counter.1", generation: 1 },
      ],
    });
    expect(await migration.state()).toBe("RUNNING");
    expect(await migration.read(16).catch(codeOf)).toBe("ENODEV");
  });

  it("ends one that is being loaded", async () => {
    const { migration } = now.migrating.client;
    await migration.setState("RESUMING");
    await migration.write(new Uint8Array(4));
    await now.admin.request({ command: "hot-reset" });
    expect(await migration.state()).toBe("RUNNING");
    expect(await migration.write(new Uint8Array(4)).catch(codeOf)).toBe("ENODEV");
  });

  it("lets the next migration be a whole one", async () => {
    const { migration } = now.migrating.client;
    await migration.setState("STOP_COPY");
    await migration.read(16);
    await now.admin.request({ command: "hot-reset" });
    await migration.setState("STOP_COPY");
    const image: Uint8Array[] = [];
    for await (const chunk of migration.stream()) image.push(chunk);
    // The other function takes it: they are of one kind.
    const target = now.other.client.migration;
    await target.setState("RESUMING");
    for (const chunk of image) await target.write(chunk);
    await target.setState("RUNNING");
    expect(await target.state()).toBe("RUNNING");
  });

  it("leaves the other client its maps and interrupts, and resets its function", async () => {
    await now.migrating.client.migration.setState("STOP_COPY");
    expect(await now.other.countTo(0x1234_5678)).toBe(0x1234_5678);
    await now.admin.request({ command: "hot-reset" });
    // Memory is disabled at power-on, and the registers are new.
    await expect(now.other.read(reg.COUNT)).rejects.toMatchObject({ code: "EIO" });
    await now.other.enableMemory();
    expect([await now.other.read(reg.COUNT), await now.other.read(reg.COMPARE)]).toEqual([0, 0]);
    // The page and the eventfd of before.
    expect(await now.other.countTo(0x0bad_cafe)).toBe(0x0bad_cafe);
  });

  it("leaves those of the client whose migration it ended, too", async () => {
    await now.migrating.client.migration.setState("STOP_COPY");
    await now.admin.request({ command: "hot-reset" });
    await now.migrating.enableMemory();
    expect(await now.migrating.countTo(77)).toBe(77);
  });

  it("is done while both clients keep asking: every answer is one that a device may give", async () => {
    const { migration } = now.migrating.client;
    let done = false;
    const answers = new Set<unknown>();
    const ask = async (command: () => Promise<unknown>) => {
      while (!done) answers.add(await command().then(() => "fine", codeOf));
    };
    const asking = [
      ask(() => migration.setState("STOP_COPY")),
      ask(() => migration.read(64)),
      ask(() => migration.setState("RUNNING")),
      ask(() => now.other.read(reg.COUNT)),
      ask(() => now.other.enableMemory()),
    ];
    for (let i = 0; i < 30; i++) await now.admin.request({ command: "hot-reset" });
    done = true;
    await Promise.all(asking);
    // EINVAL: no session is open. EIO: memory is disabled. EBUSY cannot be: accesses do not wait here.
    const allowed = ["fine", "ENODEV", "EINVAL", "EIO", "ECANCELED"];
    expect([...answers].filter((answer) => !allowed.includes(answer as string))).toEqual([]);
    expect(now.cards.map(({ generation }) => generation)).toEqual([30, 30]);
    for (const { memoryLock, deviceLock, migration } of now.cards)
      for (const lock of [memoryLock, deviceLock, migration!.stateMutex]) expect(lock.holders()).toEqual([]);
  });
});

describe("a reset of one function by its administrator", () => {
  it("is nothing to the migration of the other", async () => {
    const { migration } = now.migrating.client;
    await migration.setState("STOP_COPY");
    await migration.read(16);
    expect(await now.admin.request({ command: "reset" })).toEqual({ generation: 1 });
    expect(await migration.state()).toBe("STOP_COPY");
    expect(await migration.read(16)).toHaveLength(16);
  });
});

describe("the clients hear", () => {
  it("of an uncorrectable error by ERR, and of a removal by REQ, after which everything reads as ones", async () => {
    const { client } = now.other;
    const [err, req] = [client.irq(IrqIndex.ERR), client.irq(IrqIndex.REQ)];
    await err.enable(1);
    await req.enable(1);
    const failed = err.next();
    await now.admin.request({ command: "inject", error: "nonfatal" });
    await failed;
    const asked = req.next();
    await now.admin.request({ command: "remove" });
    await asked;
    expect(await now.other.read(reg.PERIOD)).toBe(0xffff_ffff);
    await expect(client.reset()).rejects.toMatchObject({ code: "ENODEV" });
    // The function beside it is still there, and can be reset alone only.
    expect(await now.migrating.read(reg.PERIOD)).toBe(reg.PERIOD_POWER_ON);
    await expect(now.admin.request({ command: "hot-reset" })).rejects.toMatchObject({ code: "ENODEV" });
    await now.migrating.client.reset();
  });

  it("nothing of a pause: the counter stands until the device goes on", async () => {
    await now.admin.request({ command: "pause" });
    let paused = true;
    const counted = now.other.countTo(5).then((count) => ({ count, paused }));
    while ((await now.other.read(reg.CONTROL)) === 0) await new Promise(setImmediate);
    expect(await now.other.read(reg.COUNT)).toBe(4);
    expect(await now.admin.request({ command: "info" })).toMatchObject({ paused: true, connected: true });
    paused = false;
    await now.admin.request({ command: "resume" });
    expect(await counted).toEqual({ count: 5, paused: false });
  });
});
