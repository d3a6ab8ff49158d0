/** libvfio-user's sample server, as it answered once, and our client, relay and commands. */

import { describe, expect, it } from "vitest";
import { IrqIndex } from "@vfiokit/core";
import { Command, Feature, HEADER_SIZE } from "@vfiokit/user/wire";
import { RelayClient, RelayControl } from "../../packages/user/src/relay/index.js";
import { Vfiokit } from "../../packages/cli/test/vfiokit.js";
import { Place } from "../../packages/user/test/relay/support.js";
import { RecordedServer } from "./recorded-server.js";
import { headerOf, recording } from "./recording.js";

const SAMPLE = recording("libvfio-user-sample-server.txt");
const of = (connection: string) => SAMPLE.filter((message) => message.connection === connection);
const BAR1_SIZE = 0x3000;
const MEMORY = { iova: 0x10000n, length: 0x4000n };

const commands = ({ requests }: RecordedServer): number[] => requests.map((bytes) => headerOf(bytes).cmd);

/** The migration states that a server was told to be in. */
function states({ requests }: RecordedServer): number[] {
  return requests.flatMap((bytes) => {
    const view = new DataView(bytes.buffer, HEADER_SIZE);
    const set = headerOf(bytes).cmd === Command.DEVICE_FEATURE && view.getUint32(4, true);
    return set === ((1 << 17) | Feature.MIG_DEVICE_STATE) ? [view.getUint32(8, true)] : [];
  });
}

describe("libvfio-user's sample server", () => {
  it("is described by vfiokit info, which asks nothing that it was not asked then", async () => {
    const place = new Place();
    const path = place.path("sample.sock");
    using sample = new RecordedServer(path, of("i"));
    const { code, stdout, stderr } = await Vfiokit.run("info", path);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("dead:beef");
    expect(stdout).toMatch(/1 +BAR 1 +12 KiB +read write mmap +\(4 KiB at 0x0, 4 KiB at 0x2000\)/);
    expect(stdout).toMatch(/kinds +stop-copy pre-copy/);
    expect(sample.unknown).toEqual([]);
  });

  it("is saved behind a relay, and moved, with its client's dirty logging and INTx", async () => {
    const place = new Place();
    const [a, b] = [place.path("s"), place.path("d")];
    using source = new RecordedServer(a, of("s"));
    using target = new RecordedServer(b, of("d"));
    const relay = place.relay(a);
    const control = new RelayControl(relay, `${place.relayPath}.ctl`);
    control.listen();
    const client = await place.client();
    await client.regionWrite(0, 0, new Uint8Array(8).fill(1));
    await client.regionWrite(1, 0, new Uint8Array(BAR1_SIZE).fill(0x5a));
    await client.dmaMap({ address: MEMORY.iova, memory: client.shareMemory(Number(MEMORY.length)) });
    await client.migration.startLogging(4096n);
    await client.irq(IrqIndex.INTX).enable(1);

    const pieces: Uint8Array[] = [];
    using admin = (await RelayClient.open(place.relayPath))!;
    await admin.save((piece) => {
      pieces.push(piece);
      return Promise.resolve();
    });
    const image = Buffer.concat(pieces);
    // BAR 1, then the timer of BAR 0. Its stream begins anew in STOP_COPY: no part of PRE_COPY is before it.
    expect(image).toHaveLength(BAR1_SIZE + 8);
    expect(image.subarray(0, BAR1_SIZE).equals(Buffer.alloc(BAR1_SIZE, 0x5a))).toBe(true);
    // STOP_COPY, RUNNING.
    expect(states(source)).toEqual([3, 2]);

    const result = await relay.migrate(b, { maxDowntime_ms: 300, maxRounds: 30 });
    expect(result).toMatchObject({ status: "migrated", bytes: BAR1_SIZE + 8, precopyEnd: "none" });
    const word = new Uint8Array(4);
    await client.regionRead(1, 0x2ffc, word);
    expect(word).toEqual(new Uint8Array(4).fill(0x5a));
    expect(await client.migration.dirtyPages(MEMORY, 4096n)).toEqual(new Uint8Array(8));

    // What the target got: memory, interrupts and logging of the client, and the image.
    expect(commands(target)).toEqual(
      expect.arrayContaining([Command.DMA_MAP, Command.DEVICE_SET_IRQS, Command.MIG_DATA_WRITE]),
    );
    const written = target.requests.filter((bytes) => headerOf(bytes).cmd === Command.MIG_DATA_WRITE);
    const loaded = Buffer.concat(written.map((bytes) => bytes.subarray(HEADER_SIZE + 8)));
    expect(loaded.equals(image)).toBe(true);
    expect([...source.unknown, ...target.unknown].map((bytes) => headerOf(bytes).cmd)).toEqual([]);
    await control.close();
  });
});
