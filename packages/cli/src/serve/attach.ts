/** How to plug a served device into a virtual machine. */

/** The `-device` option of QEMU 10.1 or newer. */
export function qemuDevice(socketPath: string): readonly string[] {
  const device = { driver: "vfio-user-pci", socket: { type: "unix", path: socketPath } };
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
