import { once } from "node:events";
import { unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { resolve } from "node:path";
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
        server.close();
        sink?.end(rest);
      },
    });

    const server = createServer({ pauseOnConnect: true }, (socket) => {
      if (peer) {
        log.warn({ path }, "chardev: somebody is connected already, the second peer is turned away");
        socket.destroy();
        return;
      }
      log.info({ path }, "chardev: peer connected");
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
      backend.writable();
    });
    await listen(server, path);
    return {
      backend,
      description: `unix ${path} (try: socat -,rawer UNIX-CONNECT:${path})`,
      path,
      usesStdout: false,
    };
  },
};

/** Listens at `path`. A socket that a dead program left there is replaced. */
async function listen(server: Server, path: string): Promise<void> {
  if (await isStale(path)) unlinkSync(path);
  server.listen(path);
  try {
    await once(server, "listening");
  } catch (error) {
    throw new CommandError(`chardev unix:${path}: ${(error as NodeJS.ErrnoException).message}`);
  }
}

/** A socket file that nobody listens at. */
function isStale(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}
