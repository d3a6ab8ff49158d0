import { join } from "node:path";
import { expect, onTestFinished, it } from "vitest";
import { connectUnix, type Fd } from "@vfiokit/user/linux";
import { Listener } from "../../src/socket/index.js";
import { exhaustFds, exhaustFdsButThose, temporaryDirectory } from "../linux/support.js";

it("a process that has no descriptors left says so once, and accepts whoever waits when it has some", async () => {
  const path = join(temporaryDirectory(), "s");
  const log: string[] = [];
  let onAccepted!: (fd: Fd) => void;
  const accepted = new Promise<Fd>((resolve) => (onAccepted = resolve));
  const listener = new Listener(path, (_level, message) => log.push(message), onAccepted);
  onTestFinished(() => listener.close());
  using client = connectUnix(path);
  const restore = exhaustFds();
  try {
    while (log.length === 0) await new Promise(setImmediate);
    // As long as it takes to try again, twice.
    for (const end = performance.now() + 250; performance.now() < end;) await new Promise(setImmediate);
  } finally {
    restore();
  }
  (await accepted).close();
  expect(client.closed).toBe(false);
  expect(log).toEqual([expect.stringContaining("a client cannot be accepted for now")]);
});

it("a process that has no descriptors left serves one more, and the others when it has some", async () => {
  const path = join(temporaryDirectory(), "s");
  const log: string[] = [];
  const accepted: Fd[] = [];
  const listener = new Listener(
    path,
    (_level, message) => log.push(message),
    (fd) => accepted.push(fd),
  );
  const clients = [connectUnix(path), connectUnix(path)];
  onTestFinished(() => {
    listener.close();
    for (const fd of [...clients, ...accepted]) fd.close();
  });
  const restore = exhaustFdsButThose();
  try {
    while (accepted.length === 0) await new Promise(setImmediate);
    // As long as it takes to try again, twice.
    for (const end = performance.now() + 250; performance.now() < end;) await new Promise(setImmediate);
    expect(accepted).toHaveLength(1);
  } finally {
    restore();
  }
  while (accepted.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(log).toEqual([expect.stringContaining("a client cannot be accepted for now")]);
});
