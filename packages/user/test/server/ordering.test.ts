import { Command, encodeRequest, Header, HEADER_SIZE, HeaderFlags, Type } from "@vfiokit/user/wire";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BAR_REGISTERS, Fixture, VALUE } from "./support.js";

let fixture: Fixture;
beforeEach(async () => {
  fixture = await Fixture.open();
});
afterEach(() => fixture.close());

const read = (id: number) =>
  encodeRequest("REGION_READ", id, { region: BAR_REGISTERS, offset: 0n, count: 4 });
const write = (id: number, value: number, noReply = false) =>
  encodeRequest(
    "REGION_WRITE",
    id,
    { region: BAR_REGISTERS, offset: BigInt(VALUE), count: 4, data: Uint8Array.of(value, 0, 0, 0) },
    noReply,
  );
const reset = (id: number) => encodeRequest("DEVICE_RESET", id, {});

/** A promise that the test settles. */
function gate(): { promise: Promise<void>; open: () => void; fail: (error: Error) => void } {
  let open!: () => void;
  let fail!: (error: Error) => void;
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

describe("pipelining", () => {
  it("carries out commands and answers them in order, however they arrive", async () => {
    const messages = [];
    for (let i = 1; i <= 500; i++) messages.push(write(2 * i, i & 0xff), read(2 * i + 1));
    await fixture.client.send(Buffer.concat(messages));
    for (let i = 1; i <= 500; i++) {
      expect((await fixture.client.next()).id).toBe(2 * i);
      const reply = await fixture.client.next();
      expect(reply.id).toBe(2 * i + 1);
      expect(reply.payload[16]).toBe(i & 0xff);
    }
  });

  it("lets a client use one message id for all", async () => {
    await fixture.client.send(Buffer.concat([write(9, 1), read(9), write(9, 2), read(9)]));
    const replies = [];
    for (let i = 0; i < 4; i++) replies.push(await fixture.client.next());
    expect(replies.map(({ id, cmd }) => [id, cmd])).toEqual([
      [9, Command.REGION_WRITE],
      [9, Command.REGION_READ],
      [9, Command.REGION_WRITE],
      [9, Command.REGION_READ],
    ]);
  });
});

describe("No_reply", () => {
  it("carries the command out before the next one is answered, and does not answer it", async () => {
    await fixture.client.send(Buffer.concat([write(1, 0x55, true), read(2)]));
    const reply = await fixture.client.next();
    expect(reply.id).toBe(2);
    expect(reply.payload[16]).toBe(0x55);
  });

  it("holds for every kind of command: one that fails, one that waits, one that reads", async () => {
    const quiet = (message: Uint8Array) => {
      message[Header.offset.flags]! |= HeaderFlags.NO_REPLY;
      return message;
    };
    const unknown = new Uint8Array(HEADER_SIZE);
    Header.write({ msg_id: 1, cmd: 99, msg_size: HEADER_SIZE, flags: Type.COMMAND, error_no: 0 }, unknown);
    const info = encodeRequest("DEVICE_GET_INFO", 2, { argsz: 16, flags: 0, num_regions: 0, num_irqs: 0 });
    await fixture.client.send(Buffer.concat([...[unknown, info, reset(3), read(4)].map(quiet), write(5, 1)]));
    expect((await fixture.client.next()).id).toBe(5);
    expect(fixture.fn.resets).toBe(1);
  });
});

describe("a command that has to wait", () => {
  it("makes those behind it wait, which then are carried out in order", async () => {
    const { fn, client } = fixture;
    const hold = gate();
    fn.resetGate = hold.promise;
    await client.send(Buffer.concat([write(1, 7), reset(2), write(3, 8), read(4)]));
    expect((await client.next()).id).toBe(1);
    await until(() => fn.resets === 1);
    expect(fn.writes).toEqual(["0=7/4"]);
    await client.send(read(5));
    await new Promise(setImmediate);
    hold.open();
    expect((await client.next()).id).toBe(2);
    expect((await client.next()).id).toBe(3);
    for (const id of [4, 5]) {
      const reply = await client.next();
      expect(reply.id).toBe(id);
      expect(reply.payload[16]).toBe(8);
    }
  });

  it("and fails is answered with its error, and the next is carried out", async () => {
    const hold = gate();
    fixture.fn.resetGate = hold.promise;
    await fixture.client.send(Buffer.concat([reset(1), read(2)]));
    await until(() => fixture.fn.resets === 1);
    hold.fail(new Error("the device does not come back"));
    expect(await fixture.client.next()).toMatchObject({ id: 1, errno: 5 });
    expect((await fixture.client.next()).id).toBe(2);
  });

  it("is finished before the client's things are dropped, when the client goes meanwhile", async () => {
    const hold = gate();
    fixture.fn.resetGate = hold.promise;
    await fixture.client.send(Buffer.concat([reset(1), write(2, 5)]));
    await until(() => fixture.fn.resets === 1);
    fixture.client.close();
    let ended = false;
    void fixture.server.ended.then(() => (ended = true));
    for (let i = 0; i < 10; i++) await new Promise(setImmediate);
    expect(ended).toBe(false);
    hold.open();
    await fixture.server.ended;
    expect(fixture.fn.writes).toEqual([]);
  });

  it("keeps its own bytes while more than a buffer of commands arrives behind it", async () => {
    await fixture.close();
    fixture = await Fixture.open({ maxDataXferSize: 4096 });
    const { fn, client } = fixture;
    const hold = gate();
    fn.resetGate = hold.promise;
    const count = 1000;
    const sending = client.send(
      Buffer.concat([reset(1), ...Array.from({ length: count }, (_, i) => write(i + 2, i & 0xff))]),
    );
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    hold.open();
    for (let id = 1; id <= count + 1; id++) expect((await client.next()).id).toBe(id);
    await sending;
    expect(fn.writes.length).toBe(count);
  });
});
