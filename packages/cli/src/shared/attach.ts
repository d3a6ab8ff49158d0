/** How to plug a served device into a virtual machine. */

/** Where the functions of a card go, which have to share a slot: one that QEMU does not give away by itself. */
const SLOT = 0x10;

/** The `-device` option of QEMU 10.1 or newer. */
export function qemuDevice(socketPath: string): readonly string[] {
  return deviceOption(socketPath, {});
}

/** One for each function of a card. */
export function qemuFunctions(socketPaths: readonly string[]): readonly (readonly string[])[] {
  if (socketPaths.length === 1) return socketPaths.map(qemuDevice);
  return socketPaths.map((path, number) =>
    deviceOption(path, { addr: `${SLOT.toString(16)}.${number}`, multifunction: true }),
  );
}

function deviceOption(path: string, place: Readonly<Record<string, unknown>>): readonly string[] {
  const device = { driver: "vfio-user-pci", ...place, socket: { type: "unix", path } };
  return ["-device", JSON.stringify(device)];
}

/** The machine's memory must be shared, so that a device can reach it without messages. */
export const qemuMemory: readonly string[] = [
  "-object",
  "memory-backend-memfd,id=mem,size=1G,share=on",
  "-machine",
  "memory-backend=mem",
];

/** Words as they are typed in a shell. */
export function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}
