import { describe, expect, it, onTestFinished } from "vitest";
import type { VfioError } from "@vfiokit/core";
import {
  createEventFd,
  drainEventFd,
  openFds,
  sendBytes,
  signalEventFd,
  socketPair,
  StableBuffer,
  type Fd,
} from "@vfiokit/user/linux";
import { Header } from "@vfiokit/user/wire";
import { Channel } from "../../src/socket/index.js";

interface Received {
  readonly id: number;
  readonly length: number;
  readonly fds: Fd[];
}

/** A message of `length` bytes with this id. */
function message(id: number, length = 16): Uint8Array {
  const bytes = new Uint8Array(length);
  Header.write({ msg_id: id, cmd: 13, msg_size: length, flags: 0, error_no: 0 }, bytes.subarray(0, 16));
  return bytes;
}

function sendRaw(fd: Fd, bytes: Uint8Array, fds: readonly Fd[] = []): void {
  const buffer = new StableBuffer(bytes.length);
  buffer.bytes.set(bytes);
  expect(
    sendBytes(
      fd,
      buffer,
      0,
      bytes.length,
      fds.map(({ number }) => number),
    ),
  ).toBe(bytes.length);
}

function open(fd: Fd, onMessage?: (channel: Channel, received: Received) => void) {
  const received: Received[] = [];
  let wake: () => void = () => undefined;
  let end!: (reason: VfioError) => void;
  const ended = new Promise<VfioError>((resolve) => (end = resolve));
  const channel = new Channel(
    fd,
    {
      onMessage(bytes, view, fds) {
        const one = { id: view.getUint16(bytes.byteOffset, true), length: bytes.length, fds };
        received.push(one);
        onMessage?.(channel, one);
        wake();
      },
      onEnd: end,
    },
    { name: "the peer", maxMessage: 1 << 21, maxFds: 4 },
  );
  onTestFinished(() => {
    channel.close();
    for (const { fds } of received) for (const one of fds) one.close();
  });
  const until = async (count: number): Promise<void> => {
    while (received.length < count) await new Promise<void>((resolve) => (wake = resolve));
  };
  return { channel, received, ended, until };
}

function pair(): [Fd, Fd] {
  const [ours, theirs] = socketPair();
  onTestFinished(() => {
    if (!theirs.closed) theirs.close();
  });
  return [ours, theirs];
}

describe("descriptors belong to the message that they came with", () => {
  it("between messages without", async () => {
    const [ours, theirs] = pair();
    const { received, until } = open(ours);
    using event = createEventFd();
    sendRaw(theirs, message(1));
    sendRaw(theirs, message(2, 100), [event]);
    sendRaw(theirs, message(3));
    await until(3);
    expect(received.map(({ id, length, fds }) => [id, length, fds.length])).toEqual([
      [1, 16, 0],
      [2, 100, 1],
      [3, 16, 0],
    ]);
    signalEventFd(event);
    expect(drainEventFd(received[1]!.fds[0]!)).toBe(1);
  });

  it("with the beginning of a message whose rest comes later, behind another", async () => {
    const [ours, theirs] = pair();
    const { received, until } = open(ours);
    using event = createEventFd();
    const split = message(2, 40);
    sendRaw(theirs, message(1, 100));
    sendRaw(theirs, split.subarray(0, 7), [event]);
    await until(1);
    sendRaw(theirs, split.subarray(7));
    sendRaw(theirs, message(3), [event, event]);
    await until(3);
    expect(received.map(({ id, fds }) => [id, fds.length])).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
  });

  it("from channel to channel, many in a row, none of them the caller's any more", async () => {
    const [ours, theirs] = socketPair();
    const { received, until } = open(ours);
    const sender = open(theirs);
    const before = openFds();
    for (let id = 0; id < 50; id++) {
      const event = createEventFd();
      const fds = id % 3 ? [event] : [];
      sender.channel.send(16, (into) => into.set(message(id)), fds);
      event.close();
    }
    await until(50);
    expect(received.map(({ id, fds }) => [id, fds.length])).toEqual(
      Array.from({ length: 50 }, (_, id) => [id, id % 3 ? 1 : 0]),
    );
    for (const { fds } of received) for (const fd of fds) fd.close();
    expect(openFds()).toBe(before);
  });

  it("too many that trickle in with a message that never ends", async () => {
    const [ours, theirs] = pair();
    const { ended } = open(ours);
    using event = createEventFd();
    const endless = message(1, 1000);
    for (let at = 0; at < 5; at++) sendRaw(theirs, endless.subarray(at, at + 1), [event]);
    expect((await ended).code).toBe("EPROTO");
  });
});

it("messages up to the largest, in order, however full the socket is", async () => {
  const [ours, theirs] = socketPair();
  const { received, until } = open(ours);
  const sender = open(theirs);
  const lengths = [1 << 21, 16, 1 << 20, 17, 300_000, 1 << 21];
  let sent = 0;
  lengths.forEach((length, id) => {
    sender.channel.send(length, (into) => into.set(message(id, length)));
    sender.channel.whenSent(() => sent++);
  });
  await until(lengths.length);
  expect(received.map(({ id, length }) => [id, length])).toEqual(lengths.map((length, id) => [id, length]));
  expect(sent).toBe(lengths.length);
});

it("a peer that asks and does not read is not listened to, until it reads", async () => {
  const [ours, theirs] = socketPair();
  const answer = message(0, 1 << 20);
  const { received, until } = open(ours, (channel) => channel.answer(answer));
  const asked = 64;
  for (let id = 0; id < asked; id++) sendRaw(theirs, message(id));
  await until(1);
  for (let round = 0; round < 100; round++) await new Promise(setImmediate);
  // 8 MiB of answers, and the one that went beyond.
  expect(received).toHaveLength(9);
  const peer = open(theirs);
  await peer.until(asked);
  expect(received).toHaveLength(asked);
});

it("a peer that goes away while it is not listened to is noticed", async () => {
  const [ours, theirs] = pair();
  const { ended, until } = open(ours, (channel) => channel.answer(message(0, 1 << 20)));
  for (let id = 0; id < 20; id++) sendRaw(theirs, message(id));
  await until(9);
  theirs.close();
  expect((await ended).code).toMatch(/ECONNRESET|EPIPE/);
});
