import { describe, expect, it } from "vitest";
import { loopbackBackend, serialCard } from "@vfiokit/devices";
import { LocalSource, LocalTarget, migrate, VfioUserClient, type MigrateOptions } from "@vfiokit/user";
import { fillCard, recorder, scratch, Served, smallCard, sumOfCard, usual } from "./support.js";

/** Two servers of the same card: the first is filled. */
async function twoCards(options: Parameters<typeof Served.start>[2] = {}) {
  const dir = scratch();
  const from = await Served.start(smallCard(), dir.file("from"), options);
  const to = await Served.start(smallCard(), dir.file("to"), options);
  const sum = await fillCard(from.path, 7);
  return {
    from,
    to,
    sum,
    async migrate(extra: Partial<MigrateOptions> = {}) {
      using source = await LocalSource.connect(from.path);
      using target = await LocalTarget.connect(to.path);
      const record = recorder();
      const result = await migrate(source, target, { ...usual, ...extra }, record.onEvent);
      return { ...record, result };
    },
    async [Symbol.asyncDispose]() {
      await from[Symbol.asyncDispose]();
      await to[Symbol.asyncDispose]();
      dir[Symbol.dispose]();
    },
  };
}

describe("between two vfio-user servers", () => {
  it("the device is at the target as it was at the source, which stays stopped", async () => {
    await using cards = await twoCards();
    const { result, events, of } = await cards.migrate();
    expect(result).toMatchObject({ status: "migrated", restarts: 0 });
    expect(result.bytes).toBeGreaterThan(256 * 1024);
    expect(await sumOfCard(cards.to.path)).toBe(cards.sum);
    expect([cards.to.state, cards.to.phase]).toEqual(["RUNNING", "none"]);
    expect([cards.from.state, cards.from.phase]).toEqual(["STOP", "given"]);
    expect(of("phase").map(({ phase }) => phase)).toEqual([
      "check",
      "precopy",
      "stop",
      "stop-copy",
      "prepare",
      "give",
      "activate",
      "done",
    ]);
    expect(of("check")[0]).toMatchObject({ recoverable: true, id: result.id });
    expect(of("warning")).toEqual([]);
    expect(events.at(-1)).toEqual({ event: "done", ...result });
  });

  it("a serial card's bytes, half read", async () => {
    using dir = scratch();
    await using from = await Served.start(serialCard({ backend: loopbackBackend() }), dir.file("from"));
    await using to = await Served.start(serialCard({ backend: loopbackBackend() }), dir.file("to"));
    const FCR_ENABLE = 0x01;
    const MCR_LOOPBACK = 0x10;
    const LSR_DATA_READY = 0x01;
    const peek = async (client: VfioUserClient, offset: number) => {
      const byte = new Uint8Array(1);
      await client.regionRead(0, offset, byte);
      return byte[0]!;
    };
    {
      using client = await VfioUserClient.connect(from.path);
      await client.regionWrite(0, 2, Uint8Array.of(FCR_ENABLE));
      await client.regionWrite(0, 4, Uint8Array.of(MCR_LOOPBACK));
      for (const byte of [1, 2, 3, 4]) await client.regionWrite(0, 0, Uint8Array.of(byte));
      while (!((await peek(client, 5)) & LSR_DATA_READY));
      expect(await peek(client, 0)).toBe(1);
    }
    {
      using source = await LocalSource.connect(from.path);
      using target = await LocalTarget.connect(to.path);
      await migrate(source, target, usual);
    }
    using client = await VfioUserClient.connect(to.path);
    const read: number[] = [];
    while (read.length < 3) if ((await peek(client, 5)) & LSR_DATA_READY) read.push(await peek(client, 0));
    expect(read).toEqual([2, 3, 4]);
  });

  it("what was given away cannot be migrated again, nor used", async () => {
    await using cards = await twoCards();
    await cards.migrate();
    await expect(LocalSource.connect(cards.from.path)).rejects.toMatchObject({
      code: "EBUSY",
      message: expect.stringMatching(
        /given away to .*to.* at .* in hand-over [0-9a-f]{32}.*--recover/,
      ) as unknown,
    });
    await expect(VfioUserClient.connect(cards.from.path)).rejects.toThrow();
  });

  it("back and forth: what was given away is dropped by a reset before it is a target", async () => {
    await using cards = await twoCards();
    let [from, to] = [cards.from, cards.to];
    for (let move = 0; move < 4; move++) {
      using source = await LocalSource.connect(from.path);
      using target = await LocalTarget.connect(to.path);
      await migrate(source, target, usual);
      expect([from.phase, to.state]).toEqual(["given", "RUNNING"]);
      [from, to] = [to, from];
    }
    expect(await sumOfCard(cards.from.path)).toBe(cards.sum);
    // The first one was the target twice.
    expect(cards.from.device.generation).toBe(2);
    await expect(LocalTarget.connect(to.path, { reclaim: false })).rejects.toMatchObject({ code: "EBUSY" });
  });

  it("--dry-run touches nothing", async () => {
    await using cards = await twoCards();
    const { result } = await cards.migrate({ dryRun: true });
    expect(result).toMatchObject({ status: "compatible", bytes: 0 });
    expect([cards.from.state, cards.to.state]).toEqual(["RUNNING", "RUNNING"]);
    expect([cards.from.device.generation, cards.to.device.generation]).toEqual([0, 0]);
  });

  it("without control sockets: plain states, and a warning", async () => {
    await using cards = await twoCards({ control: false });
    const { of } = await cards.migrate();
    expect(of("check")[0]).toMatchObject({ recoverable: false });
    expect(of("warning").map(({ message }) => message)).toEqual([
      expect.stringMatching(/from and \S*to: no hand-over.*killed.*cannot be recovered/),
    ]);
    expect(await sumOfCard(cards.to.path)).toBe(cards.sum);
  });
});

describe("what does not fit", () => {
  it("another device: the fields, and both values", async () => {
    using dir = scratch();
    await using from = await Served.start(smallCard(), dir.file("from"));
    await using to = await Served.start(serialCard({ backend: loopbackBackend() }), dir.file("to"));
    using source = await LocalSource.connect(from.path);
    using target = await LocalTarget.connect(to.path);
    const failure = migrate(source, target, usual);
    await expect(failure).rejects.toThrow(/device is 0103 at \S*from and 0002 at \S*to; class is 058000/);
    expect([from.state, to.state]).toEqual(["RUNNING", "RUNNING"]);
  });

  it("a card with another amount of memory: the section, and both sizes", async () => {
    using dir = scratch();
    await using from = await Served.start(smallCard(), dir.file("from"));
    await using to = await Served.start(smallCard({ size: 64 * 1024 }), dir.file("to"));
    using source = await LocalSource.connect(from.path);
    using target = await LocalTarget.connect(to.path);
    await expect(migrate(source, target, { ...usual, dryRun: true })).rejects.toThrow(
      /section memory is 262144 bytes at \S*from and 65536 bytes at \S*to$/,
    );
  });

  it("a server that has a client already: the message names the relay", async () => {
    using dir = scratch();
    await using served = await Served.start(smallCard(), dir.file("card"));
    using _qemu = await VfioUserClient.connect(served.path);
    await expect(LocalSource.connect(served.path)).rejects.toMatchObject({
      code: "EBUSY",
      message: expect.stringContaining("vfiokit relay") as unknown,
    });
  });
});
