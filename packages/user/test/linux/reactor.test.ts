import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { openSync, readSync, writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  createEventFd,
  drainEventFd,
  EventFdTrigger,
  Fd,
  createMemfd,
  openPty,
  Reactor,
  Receiver,
  sendBytes,
  signalEventFd,
  socketPair,
  StableBuffer,
  WOULD_BLOCK,
  type Source,
  type Watch,
} from "@vfiokit/user/linux";
import { afterEach, describe, expect, it } from "vitest";
import { kernelResources, ownResources } from "./support.js";

/** Collects what a source sees, and lets a test wait for it. */
class Recorder implements Source {
  readonly log: string[] = [];
  watch!: Watch;
  #wake: () => void = () => undefined;
  readonly #receiver: Receiver;
  readonly #buffer = new StableBuffer(64);

  constructor(
    readonly fd: Fd,
    private readonly onText: (text: string) => void = () => undefined,
  ) {
    this.#receiver = new Receiver(this.#buffer);
  }

  onReadable(): boolean {
    const count = this.#receiver.receive(this.fd, 0, 64);
    if (count === WOULD_BLOCK) return false;
    const text = count === 0 ? "<end>" : Buffer.from(this.#buffer.bytes.subarray(0, count)).toString();
    if (count === 0) this.watch.remove();
    this.log.push(text);
    this.onText(text);
    this.#wake();
    return true;
  }

  onWritable(): void {
    this.log.push("<writable>");
    this.watch.setWritable(false);
    this.#wake();
  }

  onHangup(): void {
    this.log.push("<hangup>");
    this.#wake();
  }

  async until(length: number): Promise<string[]> {
    while (this.log.length < length) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.log;
  }
}

const open: Fd[] = [];
afterEach(() => {
  for (const fd of open.splice(0)) fd.close();
});
function pair(): [Fd, Fd] {
  const [a, b] = socketPair();
  open.push(a, b);
  return [a, b];
}
function send(fd: Fd, text: string): void {
  const buffer = new StableBuffer(text.length);
  buffer.bytes.set(Buffer.from(text));
  sendBytes(fd, buffer, 0, text.length);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("Reactor", () => {
  it("calls a source when something arrives: while polling, and out of sleep", async () => {
    const reactor = new Reactor();
    const [a, b] = pair();
    const recorder = new Recorder(b);
    recorder.watch = reactor.add(b, recorder);
    send(a, "polling");
    await recorder.until(1);
    await pause(); // longer than it polls for
    send(a, "asleep");
    expect(await recorder.until(2)).toEqual(["polling", "asleep"]);
    recorder.watch.remove();
  });

  it("reports the end of the stream as something to read, behind what came before", async () => {
    const reactor = new Reactor();
    const [a, b] = pair();
    const recorder = new Recorder(b);
    recorder.watch = reactor.add(b, recorder);
    send(a, "last words");
    a.close();
    expect(await recorder.until(2)).toEqual(["last words", "<end>"]);
  });

  it("leaves a source alone that does not want to read, until it does", async () => {
    const reactor = new Reactor();
    const [a, b] = pair();
    const recorder = new Recorder(b);
    recorder.watch = reactor.add(b, recorder);
    recorder.watch.setReadable(false);
    send(a, "waits");
    await pause();
    expect(recorder.log).toEqual([]);
    recorder.watch.setReadable(true);
    expect(await recorder.until(1)).toEqual(["waits"]);
    recorder.watch.remove();
  });

  it("tells a source that does not read that the peer is gone, once, and removes it", async () => {
    const reactor = new Reactor();
    const [a, b] = pair();
    const recorder = new Recorder(b);
    recorder.watch = reactor.add(b, recorder);
    recorder.watch.setReadable(false);
    a.close();
    await recorder.until(1);
    await pause();
    expect(recorder.log).toEqual(["<hangup>"]);
    recorder.watch.remove();
  });

  it("says when there is room to write again", async () => {
    const reactor = new Reactor();
    const [a, b] = pair();
    const big = new StableBuffer(1 << 20);
    while (sendBytes(b, big, 0, 1 << 20) !== WOULD_BLOCK);
    const recorder = new Recorder(b);
    recorder.watch = reactor.add(b, recorder);
    recorder.watch.setWritable(true);
    await pause();
    expect(recorder.log).toEqual([]);
    const sink = new Receiver(big);
    while (sink.receive(a, 0, 1 << 20) !== WOULD_BLOCK);
    expect(await recorder.until(1)).toEqual(["<writable>"]);
    recorder.watch.remove();
  });

  it("wakes a source on request", async () => {
    const reactor = new Reactor();
    const [, b] = pair();
    const calls: string[] = [];
    const watch = reactor.add(b, {
      onReadable() {
        calls.push("called");
        return false;
      },
    });
    watch.wake();
    await pause();
    expect(calls.length).toBeGreaterThan(0);
    watch.remove();
  });

  it("is fair: a source with endless traffic starves neither another nor the event loop", async () => {
    const reactor = new Reactor();
    const [, busyEnd] = pair();
    let busy = 0;
    const busyWatch = reactor.add(busyEnd, { onReadable: () => ++busy > 0 });
    busyWatch.wake();
    const [a, b] = pair();
    const recorder = new Recorder(b);
    recorder.watch = reactor.add(b, recorder);
    await pause();
    for (let i = 1; i <= 20; i++) {
      send(a, "x");
      await recorder.until(i);
      await new Promise(setImmediate);
    }
    const seen = busy;
    await pause();
    expect(busy).toBeGreaterThan(seen);
    busyWatch.remove();
    recorder.watch.remove();
  });

  it("runs promises at once when a source asks it to yield", async () => {
    const reactor = new Reactor();
    const [, b] = pair();
    let calls = 0;
    const seen = await new Promise<number>((resolve) => {
      const watch = reactor.add(b, {
        onReadable() {
          calls++;
          if (calls === 5) {
            reactor.yield();
            void Promise.resolve().then(() => {
              watch.remove();
              resolve(calls);
            });
          }
          return true;
        },
      });
      watch.wake();
    });
    expect(seen).toBe(5);
  });

  it("survives sources that remove each other in the middle of a round", async () => {
    const reactor = new Reactor();
    const recorders = [0, 1, 2].map(() => {
      const [a, b] = pair();
      const recorder: Recorder = new Recorder(b, () => {
        for (const other of recorders) if (other.recorder !== recorder) other.recorder.watch.remove();
      });
      return { a, recorder };
    });
    for (const { recorder } of recorders) recorder.watch = reactor.add(recorder.fd, recorder);
    for (const { a } of recorders) send(a, "all at once");
    await pause();
    expect(recorders.flatMap(({ recorder }) => recorder.log)).toEqual(["all at once"]);
    for (const { recorder } of recorders) recorder.watch.remove();
  });

  it("goes on after a source threw", async () => {
    const reactor = new Reactor();
    const [a, b] = pair();
    const failing = reactor.add(b, {
      onReadable() {
        failing.remove();
        throw new Error("a bug in a handler");
      },
    });
    const [c, d] = pair();
    const recorder = new Recorder(d);
    recorder.watch = reactor.add(d, recorder);
    // Vitest listens, too: take its listeners away for this one exception.
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    const thrown = once(process, "uncaughtException");
    send(a, "x");
    expect(String((await thrown)[0])).toContain("a bug in a handler");
    for (const listener of listeners) process.on("uncaughtException", listener);
    send(c, "alive");
    expect(await recorder.until(1)).toEqual(["alive"]);
    recorder.watch.remove();
  });

  it("closes a descriptor that it takes over and cannot watch", () => {
    const reactor = new Reactor();
    const source = { onReadable: () => false };
    const folder = new Fd(openSync("/", "r")); // EPERM: it is never waited for
    expect(() => reactor.take(folder, source)).toThrow(/EPERM/);
    expect(folder.closed).toBe(true);
    const other = new Fd(openSync("/", "r"));
    expect(() => reactor.add(other, source)).toThrow(/EPERM/);
    expect(other.closed).toBe(false);
    other.close();
  });

  it("holds no descriptor when it watches nothing", async () => {
    const [a, b] = pair();
    const before = kernelResources();
    const reactor = new Reactor();
    const first = reactor.add(a, { onReadable: () => false });
    const second = reactor.add(b, { onReadable: () => false });
    expect(kernelResources().fds.length).toBe(before.fds.length + 1);
    first.remove();
    first.remove();
    second.remove();
    expect(kernelResources()).toEqual(before);
    const again = reactor.add(a, { onReadable: () => false });
    again.remove();
    await pause();
    expect(kernelResources()).toEqual(before);
  });
});

describe("eventfds", () => {
  it("count signals until they are drained", () => {
    using fd = createEventFd();
    expect(drainEventFd(fd)).toBe(0);
    signalEventFd(fd);
    signalEventFd(fd);
    expect(drainEventFd(fd)).toBe(2);
    expect(drainEventFd(fd)).toBe(0);
  });

  it("signal exactly one, also after the garbage collector ran", () => {
    using fd = createEventFd();
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    for (let i = 0; i < 3; i++) {
      collect();
      // Reuses what the collector freed.
      const filler = Array.from({ length: 1000 }, () => new Uint8Array(8).fill(0xee));
      signalEventFd(fd);
      expect(filler.length).toBe(1000);
    }
    expect(drainEventFd(fd)).toBe(3);
  });

  it("call back through the reactor with the count", async () => {
    const reactor = new Reactor();
    using fd = createEventFd();
    signalEventFd(fd);
    signalEventFd(fd);
    const counts: number[] = [];
    await new Promise<void>((resolve) => {
      const watch = reactor.addEventFd(fd, (count) => {
        counts.push(count);
        if (counts.length === 1) signalEventFd(fd);
        if (counts.length < 2) return;
        watch.remove();
        resolve();
      });
    });
    expect(counts).toEqual([2, 1]);
  });

  it("as a trigger: signal adds one, close closes", () => {
    using fd = createEventFd();
    const trigger = new EventFdTrigger(fd.duplicate());
    trigger.signal();
    trigger.signal();
    expect(drainEventFd(fd)).toBe(2);
    const before = ownResources().fds;
    trigger.close();
    trigger.close();
    expect(ownResources().fds).toBe(before - 1);
  });

  it("as a trigger: a full counter never blocks", () => {
    using fd = createEventFd();
    const number = fd.number;
    const nearlyFull = Buffer.alloc(8);
    nearlyFull.writeBigUInt64LE(0xffff_ffff_ffff_fffen);
    writeSync(number, nearlyFull);
    const nonBlocking = new EventFdTrigger(fd.duplicate());
    nonBlocking.signal();
    nonBlocking.close();
    // The same with a client that made its eventfd blocking. perl has fcntl and inherits the descriptor.
    const clear = 'open(my $f, "+<&=", 3) or die; fcntl($f, 4, 0) or die';
    const perl = spawnSync("perl", ["-e", clear], { stdio: ["ignore", "ignore", "pipe", number] });
    expect(perl.status, perl.stderr.toString()).toBe(0);
    const blocking = new EventFdTrigger(fd.duplicate());
    blocking.signal();
    blocking.close();
  });

  it("as a trigger: what is no eventfd is refused and closed", () => {
    const fd = createMemfd("not an eventfd", 8);
    expect(() => new EventFdTrigger(fd)).toThrow(
      "EINVAL: an interrupt's descriptor is /memfd:not an eventfd",
    );
    expect(fd.closed).toBe(true);
  });
});

describe("a pseudo-terminal", () => {
  it("passes every byte unchanged, both ways, and echoes none", () => {
    using pty = openPty();
    using user = new Fd(openSync(pty.path, "r+"));
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    writeSync(user.number, all);
    const seen = Buffer.alloc(600);
    expect(readSync(pty.master.number, seen)).toBe(256);
    expect([...seen.subarray(0, 256)]).toEqual([...all]);
    expect(() => readSync(pty.master.number, seen)).toThrow("EAGAIN");
    writeSync(pty.master.number, "to the user\r\n");
    expect(seen.subarray(0, readSync(user.number, seen)).toString()).toBe("to the user\r\n");
  });

  it("is not broken when its user goes away", () => {
    using pty = openPty();
    new Fd(openSync(pty.path, "r+")).close();
    expect(() => readSync(pty.master.number, Buffer.alloc(1))).toThrow("EAGAIN");
  });

  it("leaves nothing open", () => {
    const before = kernelResources();
    openPty()[Symbol.dispose]();
    expect(kernelResources()).toEqual(before);
  });
});

describe("a process with a reactor", () => {
  const script = (body: string) => `
    import { Reactor, socketPair } from ${JSON.stringify(
      fileURLToPath(new URL("../../dist/linux/index.js", import.meta.url)),
    )};
    ${body}`;

  it("exits by itself once nothing is watched", () => {
    const body = `const [a] = socketPair();
      const watch = new Reactor().add(a, { onReadable: () => true });
      watch.wake();
      setTimeout(() => { watch.remove(); console.log("removed"); }, 20);`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", script(body)]);
    expect(output.toString()).toBe("removed\n");
  });

  it("stays, asleep, while something is", () => {
    const body = `const [a] = socketPair();
      const watch = new Reactor().add(a, { onReadable: () => false });
      const spin = process.cpuUsage();
      for (const until = Date.now() + 300; Date.now() < until;);
      const busy = process.cpuUsage(spin).user;
      const before = process.cpuUsage();
      setTimeout(() => {
        const { user, system } = process.cpuUsage(before);
        console.log((user + system) / busy);
        watch.remove();
      }, 1000).unref();`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", script(body)]);
    expect(Number(output.toString())).toBeLessThan(0.1);
  });
});
