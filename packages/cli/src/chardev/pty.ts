import type { Watch } from "@vfiokit/user/linux";
import type { Chardev, ChardevKind } from "./chardev.js";
import { BufferedBackend } from "./buffered.js";

const READ_SIZE = 4096;

/** A new pseudo-terminal. What is sent while nobody has it open waits for the next one who opens it. */
export const pty: ChardevKind = {
  name: "pty",
  summary: "a new pseudo-terminal, whose name is printed",
  async open(): Promise<Chardev> {
    const { openPty, reactor, readFd, writeFd } = await import("@vfiokit/user/linux");
    const terminal = openPty();
    const buffer = new Uint8Array(READ_SIZE);
    let watch: Watch;
    try {
      watch = reactor.add(terminal.master, {
        onReadable() {
          const count = readFd(terminal.master, buffer);
          if (count <= 0) return false;
          backend.offer(buffer.subarray(0, count));
          return true;
        },
        onWritable() {
          watch.setWritable(false);
          backend.writable();
        },
      });
    } catch (error) {
      terminal[Symbol.dispose]();
      throw error;
    }
    watch.setReadable(false);

    const backend = new BufferedBackend({
      write(bytes) {
        const count = Math.max(0, writeFd(terminal.master, bytes));
        if (count < bytes.length) watch.setWritable(true);
        return count;
      },
      setReading: (on) => watch.setReadable(on),
      close(rest) {
        writeFd(terminal.master, rest);
        watch.remove();
        terminal[Symbol.dispose]();
      },
    });
    return {
      backend,
      description: `pty ${terminal.path} (try: screen ${terminal.path})`,
      path: terminal.path,
      usesStdout: false,
    };
  },
};
