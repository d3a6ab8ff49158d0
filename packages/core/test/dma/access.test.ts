import { DmaAddressSpace } from "@vfiokit/core";
import type { DmaBacking } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { beforeEach, describe, expect, it } from "vitest";
import { FileBacking, HeldClient, MappedBacking, request } from "./memory.js";

const task = new Task("client");
const PAGE = 4096n;

let dma: DmaAddressSpace;
let client: HeldClient;

beforeEach(() => {
  dma = new DmaAddressSpace();
  client = new HeldClient();
  dma.clientMemory = client;
});

function map(address: bigint, size: bigint, backing?: DmaBacking): void {
  void dma.map(task, request(address, size, backing));
}

/** 0, 1, 2 … */
function counting(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i & 0xff);
}

describe("mapped memory", () => {
  it.each([1, 8, 64, 65, 4096])("%i bytes written are read back, at once", (size) => {
    const backing = new MappedBacking(0x2000);
    map(0x10000n, 0x2000n, backing);
    expect(dma.write(0x10004, counting(size))).toBeUndefined();
    expect(backing.bytes.subarray(4, 4 + size)).toEqual(counting(size));
    expect(backing.bytes[3]).toBe(0);
    expect(backing.bytes[4 + size]).toBe(0);
    const into = new Uint8Array(size);
    expect(dma.read(0x10004n, into)).toBeUndefined();
    expect(into).toEqual(counting(size));
  });

  it("an access spans adjacent maps of different kinds", () => {
    const low = new MappedBacking(0x1000);
    const high = new FileBacking(0x1000);
    map(0x10000n, PAGE, low);
    map(0x11000n, PAGE, high);
    expect(dma.write(0x10f00, counting(512))).toBeUndefined();
    expect(low.bytes.subarray(0xf00)).toEqual(counting(512).subarray(0, 256));
    expect(high.content.subarray(0, 256)).toEqual(counting(512).subarray(256));
    const into = new Uint8Array(512);
    void dma.read(0x10f00, into);
    expect(into).toEqual(counting(512));
  });

  it("addresses are exact up to the last byte of 2^64", () => {
    const backing = new MappedBacking(0x1000);
    map((1n << 64n) - PAGE, PAGE, backing);
    void dma.write((1n << 64n) - 3n, counting(3));
    expect([...backing.bytes.subarray(0xffc)]).toEqual([0, 0, 1, 2]);
    expect(() => dma.write((1n << 64n) - 2n, counting(3))).toThrow("EFAULT");
  });

  it.each([0xffff_fffe, 2 ** 52 - 2, BigInt(2 ** 52 - 2)])(
    "%s is the same address as a number and a bigint",
    (address) => {
      const backing = new MappedBacking(0x2000);
      map(BigInt(address) & ~0xfffn, 0x2000n, backing);
      void dma.write(address, counting(4));
      expect([...backing.bytes.subarray(0xffe, 0x1002)]).toEqual([0, 1, 2, 3]);
    },
  );

  it("nothing is transferred where a part is not mapped", () => {
    const backing = new MappedBacking(0x1000);
    map(0x10000n, PAGE, backing);
    expect(() => dma.write(0x10ffe, counting(4).fill(7))).toThrow(
      "EFAULT: DMA write of 4 bytes at 0x10ffe: page 0x11000 is not mapped",
    );
    expect(backing.bytes).toEqual(new Uint8Array(0x1000));
    expect(() => dma.read(0xfff0, new Uint8Array(32))).toThrow("page 0xf000 is not mapped");
  });

  it("a hole between maps is not mapped", () => {
    map(0x10000n, PAGE, new MappedBacking(0x1000));
    map(0x12000n, PAGE, new MappedBacking(0x1000));
    expect(() => dma.read(0x10ff0, new Uint8Array(0x2000))).toThrow("page 0x11000 is not mapped");
  });

  it.each([-1, -4096n, 1n << 64n, 1n << 70n, 2 ** 60])("%s is no address with a map", (address) => {
    map(0n, PAGE, new MappedBacking(0x1000));
    expect(() => dma.read(address, new Uint8Array(1))).toThrow("EFAULT");
  });

  it("permissions are the map's", () => {
    void dma.map(task, request(0n, PAGE, new MappedBacking(0x1000), { writable: false }));
    void dma.map(task, request(PAGE, PAGE, new MappedBacking(0x1000), { readable: false }));
    expect(dma.read(0, new Uint8Array(16))).toBeUndefined();
    expect(() => dma.write(0, new Uint8Array(16))).toThrow("EACCES");
    expect(dma.write(0x1000, new Uint8Array(16))).toBeUndefined();
    expect(() => dma.read(0x1000, new Uint8Array(16))).toThrow("EACCES");
    expect(() => dma.read(0xff8, new Uint8Array(16))).toThrow(
      "EACCES: DMA read of 16 bytes at 0xff8: the map at 0x1000 does not allow it",
    );
    expect(dma.view(0x1000, 16)).toBeUndefined();
    expect(dma.modify(0, 16, () => undefined)).toBe(false);
  });

  it("no bytes are no access", () => {
    expect(dma.read(0x1234, new Uint8Array(0))).toBeUndefined();
  });

  it("a map made in place of another is the one that is found", () => {
    const old = new MappedBacking(0x1000);
    map(0n, PAGE, old);
    void dma.write(0, counting(4));
    void dma.unmap(task, 0n, PAGE);
    expect(() => dma.read(0, new Uint8Array(4))).toThrow("EFAULT");
    map(0n, PAGE, new MappedBacking(0x1000));
    const into = counting(4);
    void dma.read(0, into);
    expect([...into]).toEqual([0, 0, 0, 0]);
  });
});

describe("views", () => {
  it("are the client's memory itself", () => {
    const backing = new MappedBacking(0x2000);
    map(0x10000n, 0x2000n, backing);
    const view = dma.view(0x10800, 0x1000)!;
    backing.bytes[0x800] = 9;
    expect(view[0]).toBe(9);
    expect(view.length).toBe(0x1000);
  });

  it("do not span maps, nor what is not mapped", () => {
    map(0x10000n, PAGE, new MappedBacking(0x1000));
    map(0x11000n, PAGE, new FileBacking(0x1000));
    map(0x12000n, PAGE);
    expect(dma.view(0x10000, 0x1000)).toBeDefined();
    expect(dma.view(0x10800, 0x1000)).toBeUndefined();
    expect(dma.view(0x11000, 16)).toBeUndefined();
    expect(dma.view(0x12000, 16)).toBeUndefined();
    expect(dma.view(0x13000, 16)).toBeUndefined();
  });

  it("modify changes the memory in place", () => {
    const backing = new MappedBacking(0x1000);
    map(0x10000n, PAGE, backing);
    expect(dma.modify(0x10010, 4, (bytes) => bytes.fill(5))).toBe(true);
    expect([...backing.bytes.subarray(15, 21)]).toEqual([0, 5, 5, 5, 5, 0]);
  });
});

describe("memory behind messages", () => {
  it("an access goes to the client with its address, and ends with the answer", async () => {
    map(0x10000n, PAGE);
    const into = new Uint8Array(4);
    const reading = dma.read(0x10010, into);
    expect(client.messages).toMatchObject([{ kind: "read", address: 0x10010n }]);
    client.messages[0]!.data.set([1, 2, 3, 4]);
    client.messages[0]!.answer();
    await reading;
    expect([...into]).toEqual([1, 2, 3, 4]);
  });

  it("only the parts without memory are messages", async () => {
    const low = new MappedBacking(0x1000);
    const high = new MappedBacking(0x1000);
    map(0x10000n, PAGE, low);
    map(0x11000n, PAGE);
    map(0x12000n, PAGE, high);
    const writing = dma.write(0x10fff, new Uint8Array(0x1002).fill(3));
    expect(client.messages).toHaveLength(1);
    expect(client.messages[0]).toMatchObject({ kind: "write", address: 0x11000n });
    expect(client.messages[0]!.data).toHaveLength(0x1000);
    expect([low.bytes[0xfff], high.bytes[0]]).toEqual([3, 0]);
    client.messages[0]!.answer();
    await writing;
    expect(high.bytes[0]).toBe(3);
  });

  it("addresses are exact in a map of 2^64 bytes", async () => {
    map(0n, 1n << 64n);
    const writing = dma.write((1n << 63n) + 12345n, new Uint8Array(1));
    expect(client.messages[0]!.address).toBe((1n << 63n) + 12345n);
    client.messages[0]!.answer();
    await writing;
  });

  it("messages of several accesses go out in the order of the calls", async () => {
    map(0x10000n, PAGE);
    const all = [
      dma.write(0x10000, counting(1)),
      dma.write(0x10001, counting(1)),
      dma.read(0x10002, counting(1)),
    ];
    expect(client.messages.map(({ address }) => address)).toEqual([0x10000n, 0x10001n, 0x10002n]);
    for (const message of client.messages) message.answer();
    for (const access of all) await access;
  });

  it("the client's refusal is the access's", async () => {
    map(0x10000n, PAGE);
    const reading = dma.read(0x10000, new Uint8Array(4));
    client.messages[0]!.fail(new Error("EFAULT: says the client"));
    await expect(reading).rejects.toThrow("says the client");
    expect(dma.unmap(task, 0x10000n, PAGE)).toBeUndefined(); // the lock was given back
  });

  it("without a client they fail", async () => {
    map(0x10000n, PAGE);
    dma.clientMemory = undefined;
    await expect(dma.read(0x10000, new Uint8Array(4))).rejects.toThrow("EFAULT");
    expect(dma.unmap(task, 0x10000n, PAGE)).toBeUndefined();
  });
});

describe("mmapLock", () => {
  it("an unmap waits for the message that is under way, and for no other", async () => {
    const backing = new MappedBacking(0x1000);
    map(0x10000n, PAGE);
    map(0x20000n, PAGE, backing);
    const reading = dma.read(0x10000, new Uint8Array(4));
    const unmapping = dma.unmap(task, 0x20000n, PAGE);
    await new Promise(setImmediate);
    expect([backing.released, dma.mapCount]).toEqual([0, 2]);
    client.messages[0]!.answer();
    await reading;
    await unmapping;
    expect([backing.released, dma.mapCount]).toEqual([1, 1]);
  });

  it("an access behind a waiting unmap comes after it", async () => {
    map(0x10000n, PAGE);
    map(0x20000n, PAGE, new MappedBacking(0x1000));
    const reading = dma.read(0x10000, new Uint8Array(4));
    const unmapping = dma.unmap(task, 0x20000n, PAGE);
    const late = dma.read(0x20000, new Uint8Array(4));
    expect(late).toBeInstanceOf(Promise);
    client.messages[0]!.answer();
    await reading;
    await unmapping;
    await expect(late).rejects.toThrow("EFAULT");
  });

  it("a map waits too, and an access behind it finds it", async () => {
    map(0x10000n, PAGE);
    const reading = dma.read(0x10000, new Uint8Array(4));
    const mapping = dma.map(task, request(0x20000n, PAGE, new MappedBacking(0x1000)));
    const late = dma.write(0x20000, counting(4));
    client.messages[0]!.answer();
    await Promise.all([reading, mapping, late]);
    expect([...dma.view(0x20000, 4)!]).toEqual([0, 1, 2, 3]);
  });

  it("reads with messages do not keep each other waiting", async () => {
    map(0x10000n, PAGE);
    map(0x20000n, PAGE, new MappedBacking(0x1000));
    const reading = dma.read(0x10000, new Uint8Array(4));
    expect(dma.read(0x20000, new Uint8Array(4))).toBeUndefined();
    client.messages[0]!.answer();
    await reading;
  });

  it("a device that answers a message by another access is served", async () => {
    map(0x10000n, PAGE);
    const first = Promise.resolve(dma.read(0x10000, new Uint8Array(4))).then(() =>
      dma.write(0x10004, counting(4)),
    );
    client.messages[0]!.answer();
    while (client.messages.length < 2) await Promise.resolve();
    client.messages[1]!.answer();
    await first;
  });

  it("disconnect waits for messages under way to fail", async () => {
    map(0x10000n, PAGE);
    const reading = dma.read(0x10000, new Uint8Array(4));
    const leaving = dma.disconnect(task);
    client.messages[0]!.fail(new Error("connection closed"));
    await expect(reading).rejects.toThrow("connection closed");
    await leaving;
    expect(dma.mapCount).toBe(0);
  });
});
