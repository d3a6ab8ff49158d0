import { existsSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { expect, onTestFinished, it, vi } from "vitest";
import { connectUnix, openFds, type Fd } from "@vfiokit/user/linux";
import { libc } from "../../src/linux/libc.js";
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

it("a socket that cannot be watched is closed, and its file removed", () => {
  const path = join(temporaryDirectory(), "s");
  const before = openFds();
  const refuse = vi.spyOn(libc, "epollCtl").mockImplementation(() => {
    koffi.errno(koffi.os.errno["ENOSPC"]!);
    return -1;
  });
  try {
    expect(() => new Listener(path, () => undefined, vi.fn())).toThrow(/epoll_ctl: ENOSPC/);
  } finally {
    refuse.mockRestore();
  }
  expect(openFds()).toBe(before);
  expect(existsSync(path)).toBe(false);
});

it("a connection whose owner throws is closed, and others are accepted", async () => {
  const path = join(temporaryDirectory(), "s");
  const seen: Fd[] = [];
  const listener = new Listener(
    path,
    () => undefined,
    (fd) => {
      seen.push(fd);
      if (seen.length === 1) throw new Error("getsockopt: ENOMEM");
    },
  );
  onTestFinished(() => {
    listener.close();
    for (const fd of seen) fd.close();
  });
  using _first = connectUnix(path);
  using _second = connectUnix(path);
  while (seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(seen.map(({ closed }) => closed)).toEqual([true, false]);
});
