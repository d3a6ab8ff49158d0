import { describe, expect, onTestFinished, it } from "vitest";
import { createEventFd, openFds, sendBytes, socketPair, StableBuffer, type Fd } from "@vfiokit/user/linux";
import { Header } from "@vfiokit/user/wire";
import { MessageSocket } from "../../src/socket/index.js";

const MAX_MESSAGE = 4096;

/** A socket that takes messages while `take` says so. */
function open(take: () => boolean): {
  readonly socket: MessageSocket;
  readonly peer: Fd;
  readonly ended: Promise<string>;
  readonly sizes: number[];
} {
  const [ours, peer] = socketPair();
  const sizes: number[] = [];
  let end!: (code: string) => void;
  const ended = new Promise<string>((resolve) => (end = resolve));
  const socket: MessageSocket = new MessageSocket(ours, "the peer", MAX_MESSAGE, 2, {
    onMessages() {
      let any = false;
      for (let size; take() && (size = socket.inbox.next()) > 0; any = true) {
        sizes.push(size);
        socket.inbox.drop(size);
      }
      return any;
    },
    onEnd: (reason) => end(reason.code),
  });
  onTestFinished(() => {
    socket.close();
    peer.close();
  });
  return { socket, peer, ended, sizes };
}

function message(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  Header.write({ msg_id: 1, cmd: 13, msg_size: length, flags: 0, error_no: 0 }, bytes.subarray(0, 16));
  return bytes;
}

function send(fd: Fd, bytes: Uint8Array, fds: readonly number[] = []): number {
  const buffer = new StableBuffer(bytes.length);
  buffer.bytes.set(bytes);
  return sendBytes(fd, buffer, 0, bytes.length, fds);
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

describe("a full inbox", () => {
  it("whose last message is there in part goes on receiving: the message is moved to the front", async () => {
    const { peer, sizes } = open(() => true);
    // Whole messages and the beginning of one that fill both halves to the last byte, in one piece.
    const lengths = [3000, 3000, 3000];
    const bytes = Buffer.concat(lengths.map(message));
    send(peer, bytes.subarray(0, 2 * MAX_MESSAGE));
    while (sizes.length < 2) await turns(1);
    send(peer, bytes.subarray(2 * MAX_MESSAGE));
    while (sizes.length < 3) await turns(1);
    expect(sizes).toEqual(lengths);
  });

  it("is left to the kernel until its messages are taken", async () => {
    let taking = false;
    const { socket, peer, sizes } = open(() => taking);
    const bytes = Buffer.concat(Array.from({ length: 40 }, () => message(512)));
    expect(send(peer, bytes)).toBe(bytes.length);
    await turns(20);
    expect(socket.inbox.full).toBe(true);
    taking = true;
    socket.wake();
    while (sizes.length < 40) await turns(1);
  });
});

describe("descriptors without end", () => {
  it("behind a message that is not taken: no more is received, and none is lost", async () => {
    let taking = false;
    const { socket, peer, sizes } = open(() => taking);
    using event = createEventFd();
    const before = openFds();
    const count = 300;
    for (let sent = 0; sent < count;) {
      if (send(peer, message(16), [event.number, event.number]) > 0) sent++;
      else await turns(1);
      if (sent === 150) await turns(20);
    }
    await turns(20);
    expect(openFds() - before).toBeLessThanOrEqual(256);
    taking = true;
    socket.wake();
    while (sizes.length < count) await turns(1);
    expect(openFds()).toBe(before);
  });

  it("on single bytes of whole messages: taken with each message, and none is left open", async () => {
    const { peer, sizes } = open(() => true);
    using event = createEventFd();
    const before = openFds();
    const one = message(32);
    let most = 0;
    for (let at = 0; at < 3200;) {
      // Two of each message, which is what it may have.
      const fds = at % 32 < 2 ? [event.number] : [];
      if (send(peer, one.subarray(at % 32, (at % 32) + 1), fds) > 0) at++;
      else await turns(1);
      most = Math.max(most, openFds() - before);
    }
    while (sizes.length < 100) await turns(1);
    expect(openFds()).toBe(before);
    expect(most).toBeLessThan(256);
  });

  it("one more than a message may have, on single bytes: the connection ends then, and not at the message's end", async () => {
    const { peer, ended } = open(() => true);
    using event = createEventFd();
    const endless = message(MAX_MESSAGE);
    for (let at = 0; at < 3; at++) expect(send(peer, endless.subarray(at, at + 1), [event.number])).toBe(1);
    expect(await ended).toBe("EPROTO");
  });

  it("with a message that does not end: the connection does", async () => {
    const { peer, ended, socket } = open(() => true);
    using event = createEventFd();
    const before = openFds();
    const endless = message(MAX_MESSAGE);
    for (let at = 0; at < 1000;) {
      if (send(peer, endless.subarray(at, at + 1), [event.number]) > 0) at++;
      else await turns(1);
      if (at % 100 === 0) await turns(5);
      if (openFds() - before > 256) break;
      if (socket.hungUp) break;
    }
    expect(await ended).toBe("EPROTO");
    socket.close();
    expect(openFds()).toBeLessThan(before);
  });
});
