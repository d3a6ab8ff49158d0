import "../../../../test/setup-lockdep.js";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { PciDevice, RegionIndex, VfioError, errnoOf } from "@vfiokit/core";
import { PciExp, PciExpDevctl } from "@vfiokit/core/pci";
import { MigrationState, migrationStateName, type MigrationStateName } from "@vfiokit/core/migration";
import { hasSession } from "../../src/migration/fsm.js";
import { counterDefinition } from "../device/counter.js";
import { outcome } from "./faults.js";
import { StreamingCard, streamingCardDefinition } from "./streaming-card.js";

const { ERROR, RUNNING, STOP, STOP_COPY, RESUMING, PRE_COPY } = MigrationState;

function streaming() {
  const { definition, made } = streamingCardDefinition();
  const device = new PciDevice(definition);
  return { device, card: made[0]!, task: new Task("VMM"), migration: device.migration! };
}

/** The guest resets its device, and its driver sets it up again. Neither knows that the machine is being migrated. */
async function guestResets({ device, card }: { device: PciDevice; card: StreamingCard }): Promise<void> {
  const guest = new Task("guest");
  const control = device.capabilities.express!.offset + PciExp.DEVCTL;
  const flr = new Uint8Array(Uint16Array.of(PciExpDevctl.BCR_FLR).buffer);
  await device.writeRegion(guest, RegionIndex.CONFIG, control, 2, flr, 0);
  expect(card.contents.every((byte) => byte === 0)).toBe(true);
  card.contents.fill(0xb2);
}

type Source = ReturnType<typeof streaming>;

async function readAll({ migration, task }: Source, into: number[], piece = 64): Promise<void> {
  for (;;) {
    const buffer = new Uint8Array(piece);
    const count = await migration.readData(task, buffer);
    if (count === 0) return;
    into.push(...buffer.subarray(0, count));
  }
}

/** What the destination makes of the bytes that the client has forwarded. */
async function load(forwarded: readonly number[]): Promise<{ errno: string; contents: Uint8Array }> {
  const { card, task, migration } = streaming();
  await migration.setState(task, RESUMING);
  const errno = await outcome(async () => {
    await migration.writeData(task, Uint8Array.from(forwarded));
    await migration.setState(task, RUNNING);
  });
  return { errno, contents: card.contents };
}

describe("a client that was in PRE_COPY and does not know of the reset", () => {
  /** After `before` bytes of the first image, the guest resets its device. */
  const clients = {
    "goes on to STOP_COPY": async (source: Source, forwarded: number[]) => {
      await source.migration.setState(source.task, STOP_COPY);
      await readAll(source, forwarded);
    },
    "reads on, gets ENODEV, and goes on to STOP_COPY": async (source: Source, forwarded: number[]) => {
      expect(await outcome(readAll(source, forwarded))).toBe("ENODEV");
      await source.migration.setState(source.task, STOP_COPY);
      await readAll(source, forwarded);
    },
    "reads on, gets ENODEV, and begins again with PRE_COPY": async (source: Source, forwarded: number[]) => {
      expect(await outcome(readAll(source, forwarded))).toBe("ENODEV");
      await source.migration.setState(source.task, PRE_COPY);
      await readAll(source, forwarded, 100);
      await source.migration.setState(source.task, STOP_COPY);
      await readAll(source, forwarded);
    },
    "asks for the state, finds RUNNING, and begins again": async (source: Source, forwarded: number[]) => {
      expect(source.migration.state).toBe(RUNNING);
      await source.migration.setState(source.task, PRE_COPY);
      await source.migration.setState(source.task, STOP_COPY);
      await readAll(source, forwarded);
    },
  };

  for (const [what, finish] of Object.entries(clients)) {
    it(`and ${what}: the destination gets the new image, wherever the old one was cut`, async () => {
      const size = streaming().migration.dataSize();
      // The first BEGN must arrive whole: it brings the id by which a later one is known.
      for (let before = 64; before <= size; before += 7) {
        const source = streaming();
        source.card.contents.fill(0xa1);
        await source.migration.setState(source.task, PRE_COPY);
        const first = new Uint8Array(before);
        expect(await source.migration.readData(source.task, first)).toBe(before);
        const forwarded = [...first];

        await guestResets(source);
        await finish(source, forwarded);

        const { errno, contents } = await load(forwarded);
        expect({ before, errno }).toEqual({ before, errno: "0" });
        expect(contents.every((byte) => byte === 0xb2)).toBe(true);
      }
    });
  }

  it("and never reads on: the destination refuses what it got, and keeps its own state", async () => {
    const source = streaming();
    source.card.contents.fill(0xa1);
    await source.migration.setState(source.task, PRE_COPY);
    const first = new Uint8Array(200);
    await source.migration.readData(source.task, first);
    await guestResets(source);
    const { errno, contents } = await load([...first]);
    expect(errno).toBe("EINVAL");
    expect(contents.every((byte) => byte === 0)).toBe(true);
  });
});

describe("a client in STOP_COPY, of a device that declares its state", () => {
  it("gets ENODEV, and with STOP_COPY once more a whole new image in the same stream", async () => {
    const { definition, made } = counterDefinition();
    const device = new PciDevice(definition);
    const task = new Task("VMM");
    const migration = device.migration!;
    const counter = made[0]!;
    const size = migration.dataSize();
    for (const before of [100, 1000, size - 1, size]) {
      counter.value = 1;
      await migration.setState(task, STOP_COPY);
      const old = new Uint8Array(before);
      expect(await migration.readData(task, old)).toBe(before);
      await device.reset(new Task("admin"), "sysfs");
      expect(await outcome(async () => migration.readData(task, new Uint8Array(8)))).toBe("ENODEV");
      counter.value = 2;
      await migration.setState(task, STOP_COPY);
      const image = new Uint8Array(size);
      expect(await migration.readData(task, image)).toBe(size);

      const destination = new PciDevice(definition);
      await destination.migration!.setState(task, RESUMING);
      await destination.migration!.writeData(task, old);
      await destination.migration!.writeData(task, image);
      await destination.migration!.setState(task, RUNNING);
      expect(made.at(-1)!.value).toBe(2);
      await migration.setState(task, RUNNING);
    }
  });
});

describe("a client whose destination is reset while it loads", () => {
  it("gets ENODEV for what it writes next; the device is as after power-on, not half loaded", async () => {
    const { device, card, task, migration } = streaming();
    const source = streaming();
    source.card.contents.fill(0xa1);
    const forwarded: number[] = [];
    await source.migration.setState(source.task, STOP_COPY);
    await readAll(source, forwarded);

    await migration.setState(task, RESUMING);
    await migration.writeData(task, Uint8Array.from(forwarded.slice(0, 200)));
    await device.reset(new Task("admin"));
    expect(await outcome(async () => migration.writeData(task, Uint8Array.from(forwarded.slice(200))))).toBe(
      "ENODEV",
    );
    expect(migration.state).toBe(RUNNING);
    expect(card.contents.every((byte) => byte === 0)).toBe(true);
    await migration.setState(task, RESUMING);
    await migration.writeData(task, Uint8Array.from(forwarded));
    await migration.setState(task, RUNNING);
    expect(card.contents.every((byte) => byte === 0xa1)).toBe(true);
  });

  it("and which has nothing more to write finds it RUNNING, and not loaded: as in Linux, the state is all that tells", async () => {
    const { device, card, task, migration } = streaming();
    const source = streaming();
    source.card.contents.fill(0xa1);
    const forwarded: number[] = [];
    await source.migration.setState(source.task, STOP_COPY);
    await readAll(source, forwarded);
    await migration.setState(task, RESUMING);
    await migration.writeData(task, Uint8Array.from(forwarded));
    await device.reset(new Task("admin"));
    await migration.setState(task, RUNNING); // it is there already
    expect(card.contents.every((byte) => byte === 0)).toBe(true);
  });
});

describe("a real kernel (mtty of Linux 7.3, flags 7), asked as a whole", () => {
  const text = readFileSync(new URL("../migration/data/mtty-linux-7.3.txt", import.meta.url), "utf8");
  const names = Object.keys(MigrationState) as MigrationStateName[];

  /** A device with an open session where the state has one; nothing is written to one that is loaded, as there. */
  async function at(name: MigrationStateName) {
    const source = streaming();
    await source.migration.setState(source.task, MigrationState[name]);
    expect(source.migration.sessionOpen).toBe(hasSession(MigrationState[name]));
    return source;
  }

  const arcs = [...text.matchAll(/^arc (\w+) (\w+) errno=(\d+) state=(\w+) newfd=\d$/gm)];
  it.each(arcs.map(([row]) => row))("%s", async (row) => {
    const [, from, to, errno, state] = arcs.find(([other]) => other === row)!;
    for (const target of to === "OUT_OF_RANGE"
      ? [8, 0xffff_ffff]
      : [names.indexOf(to as MigrationStateName)]) {
      const { migration, task } = await at(from as MigrationStateName);
      let answer = 0;
      await migration.setState(task, target as MigrationState).catch((error: unknown) => {
        expect(error).toBeInstanceOf(VfioError);
        answer = errnoOf(error);
      });
      expect({ errno: answer, state: migrationStateName(migration.state) }).toEqual({
        errno: Number(errno),
        state,
      });
    }
  });

  const resets = [...text.matchAll(/^reset (\w+) errno=(\d+) state=(\w+) fd-after: (\w+) errno=(\d+)$/gm)];
  it("was reset from every state that it can be asked for", () => {
    expect(resets).toHaveLength(names.length - 1);
  });

  it.each(resets.map(([row]) => row))("%s", async (row) => {
    const [, from, errno, state, fd, fdErrno] = resets.find(([other]) => other === row)!;
    const { device, migration, task } = await at(from as MigrationStateName);
    const loading = MigrationState[from as MigrationStateName] === RESUMING;
    let answer = 0;
    await device.reset(task).catch((error: unknown) => (answer = errnoOf(error)));
    expect({ errno: answer, state: migrationStateName(migration.state) }).toEqual({
      errno: Number(errno),
      state,
    });
    const transfer = await outcome(async () => {
      if (loading) await migration.writeData(task, new Uint8Array(8));
      else await migration.readData(task, new Uint8Array(8));
    });
    // A session is no file descriptor here, so that where the kernel's client had none to ask, ours is told
    // EINVAL ("no session is open").
    expect(transfer).toBe(fd === "none" ? "EINVAL" : "ENODEV");
    expect(fdErrno).toBe(fd === "none" ? "0" : "19");
  });

  it("could not be brought to ERROR; there, too, a reset leads to RUNNING", async () => {
    expect(text).toContain("from ERROR unreachable");
    const { device, migration, task, card } = streaming();
    card.migrationSetState = () => {
      throw new VfioError("EIO", "the firmware has crashed");
    };
    card.migrationGetState = () => ERROR;
    expect(await outcome(migration.setState(task, STOP))).toBe("EIO");
    expect(await outcome(migration.setState(task, RUNNING))).toBe("EINVAL");
    await device.reset(task);
    expect(migration.state).toBe(RUNNING);
  });
});
