import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { definePciDevice, PciDevice, sections, u32 } from "@vfiokit/core";
import { migrationOf } from "@vfiokit/core/lab";
import { describeStream, MigrationFlags, MigrationState, migrationStateName } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { DISK_PAGES, filled, holdsTheSame, load, PAGE, plugIn, read, readAll, type Card } from "./box.js";

const { RUNNING, STOP, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P, RUNNING_P2P, ERROR } = MigrationState;

const go = ({ migration, task }: Card, state: MigrationState) => migration.setState(task, state);

/** What is sent twice costs more: the sizes below are those of pages and of what is around them. */
const DISK = (DISK_PAGES - 1) * PAGE + 100;
const HEADER = 12;
const CRC = 4;
const BEGIN = HEADER + 48 + CRC;
const ANNOUNCEMENT = HEADER + 16 + "disk".length + CRC;
const PAGES = HEADER + 16 + CRC;

describe("PRE_COPY", () => {
  it("is offered by devices that declare their state, and so are the P2P states", () => {
    const { STOP_COPY, P2P, PRE_COPY } = MigrationFlags;
    expect(plugIn().migration.flags).toBe(STOP_COPY | P2P | PRE_COPY);
  });

  it("gives the memory while the device runs, what is written meanwhile again, and the rest once it has stopped", async () => {
    const [from, to] = [filled(), plugIn()];
    await go(from, PRE_COPY);
    expect(from.box.running).toBe(true);
    const pieces = [await readAll(from)];
    expect(await read(from)).toHaveLength(0); // for now

    from.box.write(3, 0xaa);
    from.box.write(DISK_PAGES - 1, 0xbb);
    pieces.push(await readAll(from));
    expect(pieces.at(-1)).toHaveLength(PAGES + PAGE + PAGES + 100);

    from.box.write(4, 0xcc);
    from.box.value = 7;
    await go(from, STOP_COPY);
    expect(from.box.running).toBe(false);
    pieces.push(await readAll(from));
    expect(await read(from)).toHaveLength(0); // at all

    await load(to, ...pieces);
    expect(holdsTheSame(from, to)).toBe(true);
    expect(to.box.disk.bytes[4 * PAGE]).toBe(0xcc);
  });

  it("sends in STOP_COPY little more than what nobody can track: registers, and BARs that clients map", async () => {
    const from = filled();
    await go(from, PRE_COPY);
    await readAll(from);
    from.box.ram.fill(9); // as a client does that has mapped it
    await go(from, STOP_COPY);
    const rest = await readAll(from);
    expect(describeStream(rest).problem?.rule).toBe("not-a-stream"); // it goes on with what came before
    expect(rest.length).toBeLessThan(2 * PAGE + 4096 + 500);
  });

  it.each([1, 7, 64, 4096, 65_568, 1_000_000])("can be read in pieces of %i bytes", async (size) => {
    const [from, to] = [filled(), plugIn()];
    await go(from, PRE_COPY);
    const pieces = [await read(from, size)];
    from.box.write(0, 0x77); // it may have been sent or not, or is just being sent
    pieces.push(await readAll(from, size));
    from.box.write(1, 0x78);
    await go(from, STOP_COPY);
    pieces.push(await readAll(from, size));
    await load(to, ...pieces);
    expect(holdsTheSame(from, to)).toBe(true);
  });

  it("loses no write, whenever it happens and however the image is read", async () => {
    const action = fc.oneof(
      fc.record({ read: fc.integer({ min: 1, max: 70_000 }) }),
      fc.record({ page: fc.nat(DISK_PAGES - 1) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 60 }), fc.nat(60), async (actions, stopAfter) => {
        const [from, to] = [filled(), plugIn()];
        const pieces: Uint8Array[] = [];
        await go(from, PRE_COPY);
        let stamp = 100;
        for (const [i, step] of actions.entries()) {
          if (i === stopAfter) await go(from, STOP_COPY);
          if ("read" in step) pieces.push(await read(from, step.read));
          else if (i < stopAfter) from.box.write(step.page, ++stamp & 0xff);
        }
        await go(from, STOP_COPY);
        pieces.push(await readAll(from));
        await load(to, ...pieces);
        expect(holdsTheSame(from, to)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it("can be cancelled: the device has never stopped, and a later migration begins at the beginning", async () => {
    const [from, to] = [filled(), plugIn()];
    await go(from, PRE_COPY);
    await read(from, 50_000);
    await go(from, RUNNING);
    expect(from.migration.sessionOpen).toBe(false);
    expect(() => from.migration.readData(from.task, new Uint8Array(1))).toThrow("ENODEV");
    expect([from.box.disk.initialBytes, from.box.disk.dirtyBytes]).toEqual([DISK, 0]);

    await go(from, PRE_COPY);
    const pieces = [await readAll(from)];
    await go(from, STOP_COPY);
    await load(to, ...pieces, await readAll(from));
    expect(holdsTheSame(from, to)).toBe(true);
  });

  it("may be left for STOP_COPY at once: all of the image comes then", async () => {
    const [from, to] = [filled(), plugIn()];
    await go(from, PRE_COPY);
    await go(from, STOP_COPY);
    await load(to, await readAll(from));
    expect(holdsTheSame(from, to)).toBe(true);
  });

  it("of a device without memory has nothing to give but the beginning, in format 1", async () => {
    let value = 5;
    const state = sections({
      value: u32(
        () => value,
        (loaded) => (value = loaded),
      ),
    });
    const definition = definePciDevice({
      name: "small",
      id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
      bars: [],
      create: () => ({ reset: () => undefined, state }),
    });
    const card = { ...plugIn(), migration: new PciDevice(definition).migration! };
    await go(card, PRE_COPY);
    expect(card.migration.precopyInfo()).toMatchObject({ initialBytes: BEGIN, dirtyBytes: 0 });
    const beginning = await readAll(card);
    expect(beginning).toHaveLength(BEGIN);
    value = 6;
    await go(card, STOP_COPY);
    const stream = Uint8Array.from([...beginning, ...(await readAll(card))]);
    expect(describeStream(stream)).toMatchObject({ valid: true, begin: { format: 1 } });

    await go(card, RUNNING);
    value = 0;
    await load(card, stream);
    expect(value).toBe(6);
  });
});

describe("the formats", () => {
  it("are the oldest that do: 1 from STOP, 2 from PRE_COPY", async () => {
    const from = filled();
    await go(from, STOP_COPY);
    expect(describeStream(await readAll(from))).toMatchObject({ valid: true, begin: { format: 1 } });
    await go(from, PRE_COPY_P2P).catch(() => undefined); // not from STOP_COPY
    await go(from, RUNNING);
    await go(from, PRE_COPY);
    await go(from, STOP_COPY);
    const description = describeStream(await readAll(from));
    expect(description).toMatchObject({ valid: true, begin: { format: 2 } });
    expect(description.sections.map(({ name, paged, complete }) => [name, paged, complete])).toEqual([
      ["disk", true, true],
      ["pci.config", false, true],
      ["pci.irq", false, true],
      ["pci.bar0", false, true],
      ["value", false, true],
    ]);
  });
});

describe("precopy info", () => {
  it("counts down what was never sent, then what has changed, to nothing", async () => {
    const from = filled();
    await go(from, PRE_COPY);
    const records = Math.ceil(DISK_PAGES / 16);
    const all = BEGIN + ANNOUNCEMENT + DISK + records * PAGES;
    expect(from.migration.precopyInfo()).toEqual({
      initialBytes: all,
      dirtyBytes: 0,
      reinitialized: false,
    });
    await read(from, 1000);
    expect(from.migration.precopyInfo()).toMatchObject({ initialBytes: all - 1000, dirtyBytes: 0 });
    await readAll(from);
    expect(from.migration.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: 0 });

    from.box.write(7, 1);
    expect(from.migration.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: PAGES + PAGE });
    await read(from, 100);
    expect(from.migration.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: PAGES + PAGE - 100 });
    await readAll(from);
    expect(from.migration.precopyInfo()).toMatchObject({ initialBytes: 0, dirtyBytes: 0 });
  });

  it("tells once that there is new initial data", async () => {
    const from = filled();
    await go(from, PRE_COPY);
    await readAll(from);
    from.box.write(1, 1);
    from.box.disk.replaced();
    const first = from.migration.precopyInfo();
    expect(first).toMatchObject({ dirtyBytes: 0, reinitialized: true });
    expect(first.initialBytes).toBeGreaterThan(DISK);
    expect(from.migration.precopyInfo()).toEqual({ ...first, reinitialized: false });
  });

  it("is there in the PRE_COPY states alone, and not where the driver has none", async () => {
    const card = plugIn();
    for (const state of [RUNNING, RUNNING_P2P, STOP, STOP_COPY, STOP, RESUMING]) {
      await go(card, state);
      expect(() => card.migration.precopyInfo()).toThrow(
        `EINVAL: precopy info in ${migrationStateName(state)}`,
      );
    }
    await card.device.reset(card.task);
    await go(card, PRE_COPY_P2P);
    expect(card.migration.precopyInfo().initialBytes).toBeGreaterThan(0);
    await card.device.reset(new Task("guest"), "sysfs");
    expect(() => card.migration.precopyInfo()).toThrow("EINVAL: precopy info in RUNNING");

    const without = new PciDevice(
      definePciDevice({
        name: "driver",
        id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
        bars: [],
        create: () => ({
          reset: () => undefined,
          migrationOps: {
            flags: MigrationFlags.STOP_COPY | MigrationFlags.PRE_COPY,
            migrationSetState: () => undefined,
            migrationGetState: () => RUNNING,
            migrationGetDataSize: () => 0,
          },
        }),
      }),
    ).migration!;
    await without.setState(card.task, PRE_COPY);
    expect(() => without.precopyInfo()).toThrow("ENOTTY: driver has no precopy info");
  });
});

describe("the data size", () => {
  it("is that of the image, and while it is read, of what is left of it", async () => {
    const from = filled();
    const whole = from.migration.dataSize();
    await go(from, STOP_COPY);
    expect((await readAll(from)).length).toBe(whole);
    expect(from.migration.dataSize()).toBe(0);
    await go(from, RUNNING);
    expect(from.migration.dataSize()).toBe(whole);

    await go(from, PRE_COPY);
    let left = from.migration.dataSize();
    for (;;) {
      const count = (await read(from, 10_000)).length;
      if (count === 0) break;
      expect(from.migration.dataSize()).toBe((left -= count));
    }
    from.box.write(3, 9);
    expect(from.migration.dataSize()).toBe((left += PAGES + PAGE));
    await go(from, STOP_COPY);
    expect(from.migration.dataSize()).toBe(left);
    expect(await readAll(from)).toHaveLength(left);
    expect(from.migration.dataSize()).toBe(0);
  });
});

describe("the P2P states", () => {
  it("stop the function, and leave its session alone", async () => {
    const [from, to] = [filled(), plugIn()];
    await go(from, RUNNING_P2P);
    expect(from.box.running).toBe(false);
    await go(from, RUNNING);
    expect(from.box.running).toBe(true);

    await go(from, PRE_COPY);
    const pieces = [await read(from, 30_000)];
    await go(from, PRE_COPY_P2P);
    expect(from.box.running).toBe(false);
    pieces.push(await read(from, 30_000));
    await go(from, PRE_COPY);
    expect(from.box.running).toBe(true);
    from.box.write(0, 0x99);
    await go(from, PRE_COPY_P2P);
    await go(from, STOP_COPY);
    await load(to, ...pieces, await readAll(from));
    expect(holdsTheSame(from, to)).toBe(true);
  });

  it("can begin an image", async () => {
    const [from, to] = [filled(), plugIn()];
    await go(from, RUNNING_P2P);
    await go(from, PRE_COPY_P2P);
    const pieces = [await readAll(from)];
    await go(from, STOP_COPY);
    await load(to, ...pieces, await readAll(from));
    expect(holdsTheSame(from, to)).toBe(true);
    await go(from, RUNNING);

    await go(from, PRE_COPY_P2P);
    await go(from, RUNNING_P2P);
    expect(from.migration.sessionOpen).toBe(false);
    expect(from.box.running).toBe(false);
  });
});

describe("a reset in PRE_COPY", () => {
  it.each([64, 1000, 100_000])(
    "after %i bytes: the client goes on, and the destination has the new image alone",
    async (length) => {
      const [from, to] = [filled(), plugIn()];
      await go(to, RESUMING);
      await go(from, PRE_COPY);
      await to.migration.writeData(to.task, await read(from, length));
      await from.device.reset(new Task("guest"), "sysfs");
      expect(from.migration.state).toBe(RUNNING);
      await expect(read(from)).rejects.toThrow("ENODEV");

      from.box.write(1, 0x11);
      await go(from, PRE_COPY);
      await to.migration.writeData(to.task, await readAll(from));
      await go(from, STOP_COPY);
      await to.migration.writeData(to.task, await readAll(from));
      await go(to, RUNNING);
      expect(holdsTheSame(from, to)).toBe(true);
      expect(to.box.value).toBe(0);
    },
  );
});

describe("an image that does not come whole", () => {
  /** A card that has taken a part of an image. */
  async function halfLoaded(length: number): Promise<Card> {
    const [from, to] = [filled(), plugIn()];
    await go(from, PRE_COPY);
    await go(to, RESUMING);
    await to.migration.writeData(to.task, await read(from, length));
    return to;
  }
  const BEFORE_MEMORY = BEGIN + ANNOUNCEMENT + PAGES;

  it("leaves a device whose memory it did not touch in RESUMING, and it can be abandoned", async () => {
    const to = await halfLoaded(BEFORE_MEMORY);
    await expect(go(to, STOP)).rejects.toThrow("EINVAL: migration stream: it breaks off");
    expect(to.migration.state).toBe(RESUMING);
    await migrationOf(to.device)!.abandon(to.task);
    expect(to.migration.state).toBe(RUNNING);
    expect(to.box.running).toBe(true);
  });

  it("leaves a device whose memory it touched in ERROR, which a reset leads out of", async () => {
    const to = await halfLoaded(100_000);
    await expect(go(to, STOP)).rejects.toThrow("EINVAL: migration stream: it breaks off");
    expect(to.migration.state).toBe(ERROR);
    expect(to.box.running).toBe(false);
    await to.device.reset(to.task);
    expect(to.migration.state).toBe(RUNNING);
    expect(to.box.running).toBe(true);
    expect(to.box.disk.bytes.every((byte) => byte === 0)).toBe(true);

    const from = filled(); // and it can take another image
    await go(from, STOP_COPY);
    await load(to, await readAll(from));
    expect(holdsTheSame(from, to)).toBe(true);
  });

  it("is not run on when its client goes away: the device is reset", async () => {
    const to = await halfLoaded(100_000);
    await migrationOf(to.device)!.abandon(to.task);
    expect(to.migration.state).toBe(ERROR);
    expect(to.box.running).toBe(false);

    const other = await halfLoaded(100_000);
    await other.device.disconnect(other.task);
    expect(other.migration.state).toBe(RUNNING);
    expect(other.device.generation).toBe(1);
    expect(other.box.disk.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it("starts over with another beginning, and then every page must come again", async () => {
    const [from, to] = [filled(), plugIn()];
    await go(from, PRE_COPY);
    await go(to, RESUMING);
    await to.migration.writeData(to.task, await readAll(from));
    await go(from, RUNNING);
    await go(from, PRE_COPY);
    await to.migration.writeData(to.task, await read(from, 80_000));
    await go(from, STOP_COPY);
    const rest = await readAll(from);
    await expect(
      Promise.resolve(to.migration.writeData(to.task, rest.subarray(0, rest.length - 1))).then(() =>
        go(to, STOP),
      ),
    ).rejects.toThrow("EINVAL: migration stream");
    expect(to.migration.state).toBe(ERROR);
  });
});
