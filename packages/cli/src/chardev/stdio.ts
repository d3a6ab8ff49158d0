import type { Chardev, ChardevKind } from "./chardev.js";
import { BufferedBackend } from "./buffered.js";
import { NodeSink } from "./node-stream.js";

const CTRL_C = 0x03;

/** This process's standard input and output. */
export const stdio: ChardevKind = {
  name: "stdio",
  summary: "this terminal, or whatever standard input and output are",
  open(_argument, log): Chardev {
    // The guest's own bytes, as they are: this terminal is its terminal.
    // eslint-disable-next-line no-restricted-properties
    const { stdin, stdout } = process;
    if (stdin.isTTY) stdin.setRawMode(true); // the guest echoes and edits lines, not this terminal

    const sink = new NodeSink(stdout, () => backend.writable());
    const backend = new BufferedBackend({
      write: (bytes) => sink.write(bytes),
      setReading(on) {
        if (on) stdin.resume();
        else stdin.pause();
      },
      close(rest) {
        stdout.write(Buffer.from(rest));
        if (stdin.isTTY) stdin.setRawMode(false);
        stdin.unref();
      },
    });
    stdin.on("data", (bytes: Buffer) => {
      // As QEMU's stdio chardev does. Without it a raw terminal could not end this program.
      if (stdin.isTTY && bytes.includes(CTRL_C)) process.kill(process.pid, "SIGINT");
      else backend.offer(bytes);
    });
    stdin.on("error", (error: Error) => log.warn({ err: error.message }, "standard input failed"));
    stdout.on("error", (error: Error) => log.warn({ err: error.message }, "standard output failed"));
    return {
      backend,
      description: stdin.isTTY ? "this terminal (Ctrl-C ends the server)" : "standard input and output",
      path: undefined,
      usesStdout: true,
    };
  },
};
