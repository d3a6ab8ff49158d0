import { Socket } from "node:net";
import { resolve } from "node:path";
import type { Fd } from "@vfiokit/user/linux";
import type { Listener, Log } from "@vfiokit/user";
import { CommandError } from "../errors.js";
import { BufferedBackend } from "./buffered.js";
import type { Chardev, ChardevKind } from "./chardev.js";
import { NodeSink } from "./node-stream.js";

/**
 * A socket to connect to, one peer at a time. What is sent while nobody is connected waits for the next peer,
 * and then makes the guest wait.
 */
export const unix: ChardevKind = {
  name: "unix",
  argument: "PATH",
  summary: "listens at PATH, for one peer at a time",
  async open(argument, log): Promise<Chardev> {
    const path = resolve(argument);
    let peer: Socket | undefined;
    let sink: NodeSink | undefined;
    let reading = false;

    const backend = new BufferedBackend({
      write: (bytes) => sink?.write(bytes) ?? 0,
      setReading(on) {
        reading = on;
        if (on) peer?.resume();
        else peer?.pause();
      },
      close(rest) {
        listener.close();
        sink?.end(rest);
      },
    });

    const connected = (fd: Fd): void => {
      if (peer) {
        log.warn({ path }, "chardev: somebody is connected already, the second peer is turned away");
        fd.close();
        return;
      }
      log.info({ path }, "chardev: peer connected");
      const socket = new Socket({ fd: fd.release() });
      peer = socket;
      sink = new NodeSink(socket, () => backend.writable());
      socket.on("data", (bytes: Buffer) => backend.offer(bytes));
      socket.on("error", (error) => log.warn({ path, err: error.message }, "chardev: peer failed"));
      socket.on("close", () => {
        log.info({ path }, "chardev: peer disconnected");
        peer = undefined;
        sink = undefined;
      });
      if (reading) socket.resume();
      else socket.pause();
      backend.writable();
    };
    const listener = await listen(path, (level, message) => log[level](`chardev: ${message}`), connected);
    return {
      backend,
      description: `unix ${path} (try: socat -,rawer UNIX-CONNECT:${path})`,
      path,
      usesStdout: false,
    };
  },
};

/** Listens at `path`, with mode 0600. A socket that a dead program left there is replaced. */
async function listen(path: string, ...rest: [log: Log, connected: (fd: Fd) => void]): Promise<Listener> {
  const { Listener } = await import("@vfiokit/user");
  const { SyscallError } = await import("@vfiokit/user/linux");
  try {
    return new Listener(path, ...rest);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new CommandError(`chardev unix:${path}: ${error.message}`);
  }
}
