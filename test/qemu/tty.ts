import { createHash, randomBytes } from "node:crypto";
import { expect } from "vitest";
import type { SerialCard } from "./cards.js";
import type { Guest } from "./guest.js";
import type { Line } from "./line.js";
import type { DeviceOptions } from "./qemu.js";

/** Where a card is plugged in: QEMU's words for it, and the guest's. */
export interface Place {
  readonly bus: string;
  readonly addr?: string;
  /** The function's folder in the guest's sysfs, as a shell pattern. */
  readonly sysfs: string;
}

/** The slot of a pcie-root-port that was given this PCI device number. */
export function slot(port: { id: string; addr: string }): Place {
  return { bus: port.id, sysfs: `/sys/devices/pci0000:00/0000:00:${port.addr.slice(2)}.0/0000:*:00.0` };
}

/** A place on the root bus, where a card can neither be unplugged nor reset through its bus. */
export function rootBus(addr: string): Place {
  return { bus: "pcie.0", addr, sysfs: `/sys/devices/pci0000:00/0000:00:${addr.slice(2)}.0` };
}

/** A card's device with the place where it is plugged in. */
export function plugged(card: SerialCard, place: Place): DeviceOptions {
  return { ...card.device, bus: place.bus, ...(place.addr === undefined ? {} : { addr: place.addr }) };
}

/** Shell: the folder of a function, and the names of the ttys that a driver made for it. */
const ttysOf = (place: Place): string =>
  `find ${place.sysfs}/ -name 'ttyS*' -path '*/tty/*' 2>/dev/null | sed 's,.*/,,'`;

/** Waits until the guest's driver made a tty for the card, and returns its path. */
export async function findTty(guest: Guest, place: Place): Promise<string> {
  const script = `until tty=$(${ttysOf(place)}) && [ -n "$tty" ]; do usleep 50000; done; echo "$tty"`;
  return `/dev/${await guest.ok(script)}`;
}

/** Sends `size` random bytes from the guest, and returns the checksums of what was sent and what arrived. */
export async function guestToHost(guest: Guest, tty: string, line: Line, size: number): Promise<Checksums> {
  const sent = guest.ok(
    `stty -F ${tty} raw -echo 115200
    head -c ${size} /dev/urandom >/tmp/out
    cat /tmp/out >${tty}
    sha256sum </tmp/out`,
    120,
  );
  // Awaited together, so that the guest's complaint is not lost when the line stays silent.
  const [sum, bytes] = await Promise.all([sent, line.take(size, 120)]);
  return { sent: sum.split(" ")[0]!, arrived: sha256(bytes) };
}

/** Sends `size` random bytes to the guest, and returns the checksums of what was sent and what arrived. */
export async function hostToGuest(guest: Guest, tty: string, line: Line, size: number): Promise<Checksums> {
  const bytes = randomBytes(size);
  // Opening the port empties its FIFOs, so the guest says when it has.
  const arrived = guest.ok(
    `stty -F ${tty} raw -echo 115200
    exec 4<>${tty}
    printf R >&4
    head -c ${size} <&4 | sha256sum`,
    120,
  );
  const [sum] = await Promise.all([arrived, line.take(1).then(() => line.send(bytes))]);
  return { sent: sha256(bytes), arrived: sum.split(" ")[0]! };
}

/** Sends a little in each direction: the card works. */
export async function transfersBothWays(guest: Guest, place: Place, line: Line): Promise<void> {
  const tty = await findTty(guest, place);
  const out = await guestToHost(guest, tty, line, 2048);
  expect(out.arrived).toBe(out.sent);
  const back = await hostToGuest(guest, tty, line, 2048);
  expect(back.arrived).toBe(back.sent);
}

export interface Checksums {
  readonly sent: string;
  readonly arrived: string;
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
