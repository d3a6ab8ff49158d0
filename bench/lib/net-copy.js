/**
 * Copies bytes over AF_UNIX from one process through a second to a third, with Node's own sockets: what
 * bench/c/unix-copy.c does with 2 hops, in the runtime of the migration client. Prints "SECONDS CPU-SECONDS".
 *
 *     node net-copy.js MIB
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const CHUNK = 1 << 20;
const [mib = "", role, directory = ""] = process.argv.slice(2);
const total = Number(mib) * CHUNK;
/** @param {string} name */
const path = (name) => join(directory, name);
const reportCpu = () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ cpu_s: (user + system) / 1e6 }, () => process.disconnect());
};

if (role === "sender") {
  const server = createServer((socket) => {
    const chunk = Buffer.alloc(CHUNK, 0x5a);
    let sent = 0;
    const more = () => {
      while (sent < total) {
        sent += CHUNK;
        if (!socket.write(chunk)) {
          socket.once("drain", more);
          return;
        }
      }
      socket.end();
      server.close(reportCpu);
    };
    more();
  });
  server.listen(path("sender"), () => process.send?.("ready"));
} else if (role === "relay") {
  const server = createServer((socket) => {
    connect(path("sender")).pipe(socket);
    server.close(reportCpu);
  });
  server.listen(path("relay"), () => process.send?.("ready"));
} else {
  const own = mkdtempSync(join(tmpdir(), "vfiokit-bench-"));
  const children = [];
  for (const each of ["sender", "relay"]) {
    const child = fork(fileURLToPath(import.meta.url), [mib, each, own]);
    await once(child, "message");
    children.push(child);
  }
  const reports = children.map((child) => once(child, "message"));
  const [before, start] = [process.cpuUsage(), performance.now()];
  const socket = connect(join(own, "relay"));
  let received = 0;
  socket.on("data", (bytes) => void (received += bytes.length));
  await once(socket, "end");
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  let cpu_s = (user + system) / 1e6;
  for (const report of await Promise.all(reports))
    cpu_s += /** @type {[{ cpu_s: number }]} */ (report)[0].cpu_s;
  rmSync(own, { recursive: true });
  if (received !== total) throw new Error(`${received} bytes of ${total} arrived`);
  console.log(seconds, cpu_s);
}
