import { definePciDevice, io, memory, sections, TrackedMemory, trackedMemory, u32 } from "@vfiokit/core";

/**
 * What is moved while processes are killed: a register that fills memory that is sent while the device runs, and
 * memory that is sent when it has stopped; and a register that tells whether they are what they should be.
 */
export const VALUE = 0x0;
/** VALUE if all memory is of that value, otherwise DAMAGED. */
export const CHECKED = 0x4;
export const DAMAGED = 0xdead_dead;

export const BAR_REGISTERS = 0;
const BAR_MEMORY = 2;
const PAGE = 4096;
const DISK = 16 * PAGE;
const RAM = 16 * PAGE;

/** @type {(value: number, index: number) => number} */
const byteOf = (value, index) => (value * 31 + (index >> 8)) & 0xff;

export const killedDevice = definePciDevice({
  name: "killed",
  id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
  bars: [io({ size: 0x10, slot: BAR_REGISTERS }), memory({ size: RAM, slot: BAR_MEMORY })],
  create: (host) => {
    const disk = new TrackedMemory(DISK);
    const ram = host.memory(BAR_MEMORY);
    let value = 0;
    /** @param {number} to */
    const fill = (to) => {
      value = to;
      disk.write(
        0,
        Uint8Array.from({ length: DISK }, (_, i) => (to === 0 ? 0 : byteOf(to, i))),
      );
      ram.forEach((_, i) => (ram[i] = to === 0 ? 0 : byteOf(to, i)));
    };
    const isWhole = () =>
      [disk.bytes, ram].every((bytes) =>
        bytes.every((byte, i) => byte === (value === 0 ? 0 : byteOf(value, i))),
      );
    return {
      read: (_bar, offset) => {
        if (offset === VALUE) return value;
        return offset === CHECKED ? (isWhole() ? value : DAMAGED) : 0;
      },
      write: (_bar, offset, to) => {
        if (offset === VALUE) fill(to);
      },
      reset: () => fill(0),
      state: sections({
        value: u32(
          () => value,
          (to) => (value = to),
        ),
        disk: trackedMemory(disk),
      }),
    };
  },
});
