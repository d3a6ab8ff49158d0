import { Channel, ChannelClosed, LockTimeout, Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { outcome } from "./support/outcome.js";
import { locksOnly } from "./support/validator.js";

locksOnly();

const [a, b, c] = ["a", "b", "c"].map((name) => new Task(name)) as [Task, Task, Task];

describe("Channel", () => {
  it("sends and receives without a promise while there is room and something to receive", () => {
    const channel = new Channel<number>(2, "ch");
    expect([channel.send(a, 1), channel.send(a, 2), channel.size]).toEqual([undefined, undefined, 2]);
    expect([channel.receive(b), channel.receive(b), channel.size]).toEqual([1, 2, 0]);
  });

  it("keeps the order of the values through full, waiting and empty", async () => {
    const channel = new Channel<number>(2, "ch");
    const sends = [1, 2, 3, 4, 5].map((value) => channel.send(a, value));
    expect(channel.waiters()).toHaveLength(3);
    const got: (number | undefined)[] = [];
    for (let i = 0; i < 5; i++) got.push(await channel.receive(b));
    expect(got).toEqual([1, 2, 3, 4, 5]);
    for (const sent of sends) await sent;
  });

  it("with no capacity, sender and receiver meet", async () => {
    const channel = new Channel<string>(0, "ch");
    expect(channel.trySend("nobody")).toBe(false);
    const received = channel.receive(b);
    expect(channel.trySend("met")).toBe(true);
    expect(await received).toBe("met");
    const sent = channel.send(a, "again");
    expect(sent).toBeInstanceOf(Promise);
    expect(channel.tryReceive()).toBe("again");
    await sent;
    expect(channel.tryReceive()).toBeUndefined();
  });

  it("closed, gives what is left and then undefined; who waits to send fails", async () => {
    const channel = new Channel<number>(1, "ch");
    void channel.send(a, 1);
    const late = outcome(Promise.resolve(channel.send(b, 2)));
    channel.close();
    channel.close();
    expect(await late).toEqual({ rejected: expect.any(ChannelClosed) as ChannelClosed });
    expect(() => channel.send(a, 3)).toThrow(ChannelClosed);
    expect(() => channel.trySend(3)).toThrow(ChannelClosed);
    expect([channel.receive(c), channel.receive(c), channel.tryReceive()]).toEqual([1, undefined, undefined]);
  });

  it("closed, wakes all who wait to receive", async () => {
    const channel = new Channel<number>(1, "ch");
    const waits = [channel.receive(a), channel.receive(b)];
    expect(channel.waiters()).toHaveLength(2);
    channel.close();
    for (const wait of waits) expect(await wait).toBeUndefined();
  });

  it("is iterated to its end", async () => {
    const channel = new Channel<number>(1, "ch");
    const producer = (async () => {
      for (const value of [0, 1, 2]) await channel.send(a, value);
      channel.close();
    })();
    const got: number[] = [];
    for await (const value of channel.values(b)) got.push(value);
    expect(got).toEqual([0, 1, 2]);
    await producer;
  });

  it("an aborted sender's value is not sent, and a receiver that has its value is not aborted", async () => {
    const channel = new Channel<number>(0, "ch");
    const abort = new AbortController();
    const sent = outcome(Promise.resolve(channel.send(a, 1, { signal: abort.signal })));
    abort.abort("enough");
    expect(await sent).toEqual({ rejected: "enough" });
    expect(channel.tryReceive()).toBeUndefined();

    const late = new AbortController();
    const received = channel.receive(b, { signal: late.signal });
    channel.trySend(2);
    late.abort("too late");
    expect(await received).toBe(2);
  });

  it("a receiver's time limit ends its wait, and the next value is for the next one", async () => {
    const channel = new Channel<number>(1, "ch");
    const end = await outcome(Promise.resolve(channel.receive(a, { timeoutMs: 1 })));
    expect(end).toEqual({ rejected: expect.any(LockTimeout) as LockTimeout });
    channel.trySend(1);
    expect(channel.tryReceive()).toBe(1);
  });

  it("null, 0 and false are values; undefined is none", () => {
    const channel = new Channel<null | number | boolean>(3, "ch");
    for (const value of [null, 0, false]) channel.trySend(value);
    expect([channel.tryReceive(), channel.tryReceive(), channel.tryReceive()]).toEqual([null, 0, false]);
    expect(() => channel.trySend(undefined as never)).toThrow(TypeError);
  });

  it("refuses a capacity that is none", () => {
    for (const capacity of [-1, 0.5, Infinity]) expect(() => new Channel(capacity)).toThrow(RangeError);
  });
});
