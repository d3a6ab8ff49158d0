import {
  definePciDevice,
  memory,
  PciDevice,
  sections,
  TrackedMemory,
  trackedMemory,
  u32,
  type PciFunction,
} from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";

export const PAGE = 4096;
export const DISK_PAGES = 40;
export const BAR_MEMORY = 0;

/** A device with a register, 40 pages of tracked memory that end in the middle of one, and 8 KiB that are a BAR. */
export class Box implements PciFunction {
  value = 0;
  running = true;
  readonly disk = new TrackedMemory((DISK_PAGES - 1) * PAGE + 100);

  constructor(readonly ram: Uint8Array) {}

  reset(): void {
    this.value = 0;
    this.disk.clear();
  }

  stop(): void {
    this.running = false;
  }

  run(): void {
    this.running = true;
  }

  readonly state = sections({
    value: u32(
      () => this.value,
      (value) => (this.value = value),
    ),
    disk: trackedMemory(this.disk),
  });

  /** Writes a page with content that no other write has. */
  write(page: number, stamp: number): void {
    const start = page * PAGE;
    this.disk.fill(stamp, start, Math.min(start + PAGE, this.disk.size));
  }
}

export function plugIn(subsystem = 1) {
  let box!: Box;
  const device = new PciDevice(
    definePciDevice({
      name: "box",
      id: { vendor: 0x1b36, device: 0x0101, subsystem, classCode: 0x088000 },
      bars: [memory({ size: 2 * PAGE })],
      create: (host) => (box = new Box(host.memory(BAR_MEMORY))),
    }),
  );
  return { box, device, migration: device.migration!, task: new Task("client") };
}
export type Card = ReturnType<typeof plugIn>;

/** The next bytes of the image, at most `size`. */
export async function read({ migration, task }: Card, size = 100_000): Promise<Uint8Array> {
  const piece = new Uint8Array(size);
  return piece.slice(0, await migration.readData(task, piece));
}

/** What there is of the image, for now or at all. */
export async function readAll(card: Card, size = 100_000): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = await read(card, size);
    if (piece.length === 0) break;
    pieces.push(piece);
  }
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

export async function load({ migration, task }: Card, ...pieces: readonly Uint8Array[]): Promise<void> {
  await migration.setState(task, MigrationState.RESUMING);
  for (const piece of pieces) await migration.writeData(task, piece);
  await migration.setState(task, MigrationState.RUNNING);
}

/** True if the other has all that the one has. */
export function holdsTheSame(one: Card, other: Card): boolean {
  const same = (a: Uint8Array, b: Uint8Array) => a.every((byte, i) => byte === b[i]);
  return (
    one.box.value === other.box.value &&
    same(one.box.disk.bytes, other.box.disk.bytes) &&
    same(one.box.ram, other.box.ram)
  );
}

/** A card with something in all of it. */
export function filled(): Card {
  const card = plugIn();
  card.box.value = 0xcafe;
  for (let page = 0; page < DISK_PAGES; page++) card.box.write(page, page + 1);
  card.box.ram.forEach((_, i) => (card.box.ram[i] = i * 3));
  return card;
}
