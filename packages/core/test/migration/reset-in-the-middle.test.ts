import { describe, expect, it } from "vitest";
import {
  definePciDevice,
  memory,
  PciDevice,
  sections,
  u32,
  VfioError,
  type PciFunction,
} from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";

const BAR_MEMORY = 0;

/** A device with a register and 8 KiB of memory. */
class Box implements PciFunction {
  value = 0;

  constructor(readonly ram: Uint8Array) {}

  reset(): void {
    this.value = 0;
  }

  readonly state = sections({
    value: u32(
      () => this.value,
      (value) => (this.value = value),
    ),
  });
}

function plugIn() {
  let box!: Box;
  const device = new PciDevice(
    definePciDevice({
      name: "box",
      id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
      bars: [memory({ size: 8192 })],
      create: (host) => (box = new Box(host.memory(BAR_MEMORY))),
    }),
  );
  return { box, device, migration: device.migration!, task: new Task("client") };
}
type Card = ReturnType<typeof plugIn>;

async function read({ migration, task }: Card, size: number): Promise<Uint8Array> {
  const piece = new Uint8Array(size);
  return piece.subarray(0, await migration.readData(task, piece));
}

async function readAll(card: Card): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = await read(card, 1000);
    if (piece.length === 0) return pieces;
    pieces.push(piece);
  }
}

describe("a reset in the middle of a migration", () => {
  // The guest resets its device while a client, which is not told, reads the image. The client finds out that its
  // session has ended, begins a new one, and writes all that it has read on to the same destination.
  it.each([64, 100, 3000, 8000])(
    "after %i bytes: the client goes on, and the new image loads",
    async (read1) => {
      const [from, to] = [plugIn(), plugIn()];
      await to.migration.setState(to.task, MigrationState.RESUMING);

      from.box.value = 1;
      from.box.ram.fill(0x11);
      await from.migration.setState(from.task, MigrationState.STOP_COPY);
      await to.migration.writeData(to.task, await read(from, read1));

      await from.device.reset(new Task("guest"), "sysfs");
      await expect(read(from, 1000)).rejects.toMatchObject({ code: "ENODEV" });
      expect(from.migration.state).toBe(MigrationState.RUNNING);
      from.box.value = 2;
      from.box.ram.fill(0x22);

      await from.migration.setState(from.task, MigrationState.STOP_COPY);
      for (const piece of await readAll(from)) await to.migration.writeData(to.task, piece);
      await to.migration.setState(to.task, MigrationState.RUNNING);
      expect(to.box.value).toBe(2);
      expect(to.box.ram.every((byte) => byte === 0x22)).toBe(true);
    },
  );

  it("a client that stops there instead is refused, and the destination is untouched", async () => {
    const [from, to] = [plugIn(), plugIn()];
    from.box.value = 1;
    await to.migration.setState(to.task, MigrationState.RESUMING);
    await from.migration.setState(from.task, MigrationState.STOP_COPY);
    await to.migration.writeData(to.task, await read(from, 3000));
    await from.device.reset(new Task("guest"), "sysfs");

    const refused = to.migration.setState(to.task, MigrationState.STOP);
    await expect(refused).rejects.toThrow(VfioError);
    await expect(refused).rejects.toThrow("EINVAL: migration stream: it breaks off after 3000 bytes");
    expect(to.migration.state).not.toBe(MigrationState.RUNNING);
    expect(to.box.value).toBe(0);

    // VFIO uAPI: a reset aborts a RESUMING session.
    await to.device.reset(to.task);
    expect(to.migration.state).toBe(MigrationState.RUNNING);
  });
});
