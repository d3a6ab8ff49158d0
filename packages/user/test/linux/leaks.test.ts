import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  connectUnix,
  createBacking,
  createEventFd,
  createMemfd,
  EventFdTrigger,
  Mapping,
  memfdMemory,
  openPty,
  peerCredentials,
  Reactor,
  Receiver,
  sendBytes,
  socketPair,
  StableBuffer,
  UnixListener,
} from "@vfiokit/user/linux";
import { describe, expect, it } from "vitest";
import { kernelResources, ownResources, temporaryDirectory } from "./support.js";

/*
 * Everything that opens or maps something, done right and made to fail: afterwards the kernel's view of this process
 * (/proc/self/fd, /proc/self/maps) and our own counters are what they were.
 */

const PAGE = 4096;
const directory = temporaryDirectory();
const path = () => join(directory, "leak.sock");
const withFile = (use: (fd: ReturnType<typeof createMemfd>) => void) => {
  using fd = createMemfd("leak", PAGE);
  use(fd);
};

const succeeding: Record<string, () => void> = {
  createMemfd: () => withFile(() => undefined),
  "Fd.duplicate": () => withFile((fd) => fd.duplicate().close()),
  "Mapping.ofFile": () =>
    withFile((fd) => Mapping.ofFile(fd, { length: PAGE, writable: true })[Symbol.dispose]()),
  "Mapping.ofFile, read-only": () =>
    withFile((fd) => Mapping.ofFile(fd, { length: 1, writable: false })[Symbol.dispose]()),
  memfdMemory: () => memfdMemory.allocate("leak", PAGE)[Symbol.dispose](),
  "createBacking by mmap": () =>
    withFile((fd) =>
      createBacking(fd.duplicate(), { offset: 0, length: PAGE, writable: true, access: "mmap" }).release(),
    ),
  "createBacking by file": () =>
    withFile((fd) =>
      createBacking(fd.duplicate(), { offset: 0, length: PAGE, writable: true, access: "file" }).release(),
    ),
  createEventFd: () => createEventFd().close(),
  EventFdTrigger: () => new EventFdTrigger(createEventFd()).close(),
  openPty: () => openPty()[Symbol.dispose](),
  socketPair: () => socketPair().forEach((fd) => fd.close()),
  "UnixListener, connectUnix and accept": () => {
    using listener = new UnixListener(path());
    using _client = connectUnix(listener.path);
    listener.accept()!.close();
  },
  "UnixListener over a stale socket": () => {
    new UnixListener(path()).fd.close();
    new UnixListener(path()).close();
  },
  "descriptors received, taken and not": () => {
    const [a, b] = socketPair();
    const buffer = new StableBuffer(8);
    for (const take of [true, false]) {
      sendBytes(a, buffer, 0, 1, [a.number, b.number]);
      const receiver = new Receiver(buffer);
      receiver.receive(b, 0, 8);
      if (take) for (const fd of receiver.takeFds().fds) fd.close();
      receiver.close();
    }
    a.close();
    b.close();
  },
  Reactor: () => {
    const reactor = new Reactor();
    using fd = createEventFd();
    reactor.addEventFd(fd, () => undefined).remove();
  },
};

const failing: Record<string, readonly [message: string, attempt: () => void]> = {
  "createMemfd of a negative size": ["EINVAL", () => createMemfd("leak", -1)],
  "createMemfd with a long name": ["EINVAL", () => createMemfd("x".repeat(250), PAGE)],
  "createMemfd with seals that do not exist": ["EINVAL", () => createMemfd("leak", PAGE, 1 << 20)],
  "memfdMemory of no bytes": ["EINVAL", () => memfdMemory.allocate("leak", 0)],
  "Mapping beyond the file": [
    "EINVAL",
    () => withFile((fd) => Mapping.ofFile(fd, { length: 2 * PAGE, writable: true })),
  ],
  "createBacking beyond the file": [
    "EINVAL",
    () =>
      withFile((fd) =>
        createBacking(fd.duplicate(), { offset: PAGE, length: PAGE, writable: true, access: "mmap" }),
      ),
  ],
  "createBacking by file, unaligned": [
    "EINVAL",
    () =>
      withFile((fd) =>
        createBacking(fd.duplicate(), { offset: 1, length: 1, writable: true, access: "file" }),
      ),
  ],
  "EventFdTrigger of a file": ["EINVAL", () => withFile((fd) => new EventFdTrigger(fd.duplicate()))],
  "connectUnix to nobody": ["ENOENT", () => connectUnix(path())],
  "connectUnix to a file": [
    "ECONNREFUSED",
    () => {
      writeFileSync(join(directory, "file"), "");
      connectUnix(join(directory, "file"));
    },
  ],
  "UnixListener in no directory": ["ENOENT", () => new UnixListener(join(directory, "no", "leak.sock"))],
  "UnixListener where another listens": [
    "EADDRINUSE",
    () => {
      using first = new UnixListener(path());
      new UnixListener(first.path);
    },
  ],
  "UnixListener with a long path": ["ENAMETOOLONG", () => new UnixListener("x".repeat(108))],
  "peerCredentials of a file": ["ENOTSOCK", () => withFile((fd) => void peerCredentials(fd))],
  "receiving from a file": [
    "ENOTSOCK",
    () => withFile((fd) => void new Receiver(new StableBuffer(1)).receive(fd, 0, 1)),
  ],
  "Reactor.add of a file": [
    "EPERM",
    () => {
      const reactor = new Reactor();
      withFile((fd) => void reactor.add(fd, { onReadable: () => false }));
    },
  ],
};

describe("nothing is left open or mapped", () => {
  it.each(Object.keys(succeeding))("by %s", (name) => {
    const kernel = kernelResources();
    const own = ownResources();
    succeeding[name]!();
    expect(ownResources()).toEqual(own);
    expect(kernelResources()).toEqual(kernel);
  });

  it.each(Object.keys(failing))("when this fails: %s", (name) => {
    const [message, attempt] = failing[name]!;
    const kernel = kernelResources();
    const own = ownResources();
    expect(attempt).toThrow(message);
    expect(ownResources()).toEqual(own);
    expect(kernelResources()).toEqual(kernel);
  });
});
