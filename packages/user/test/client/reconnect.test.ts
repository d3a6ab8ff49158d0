import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { Errno, IrqIndex, VfioError } from "@vfiokit/core";
import { signalEventFd } from "@vfiokit/user/linux";
import { VfioUserClient, type ClientEvents, type ClientOptions } from "../../src/client/index.js";
import { FakeListener } from "./fake-server.js";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vfiokit-"));
  path = join(folder, "device.sock");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A server at `path`, killed when the test ends. */
function listen(
  ...args: ConstructorParameters<typeof FakeListener> extends [string, ...infer R] ? R : never
): FakeListener {
  const listener = new FakeListener(path, ...args);
  onTestFinished(() => listener.kill());
  return listener;
}

async function connect(options: ClientOptions = {}): Promise<VfioUserClient> {
  const client = await VfioUserClient.connect(path, { reconnect: { firstMs: 1, maxMs: 5 }, ...options });
  onTestFinished(() => client.close());
  return client;
}

function event<E extends keyof ClientEvents>(client: VfioUserClient, name: E): Promise<ClientEvents[E]> {
  return new Promise((resolve) => {
    client.once(name, ((...args: ClientEvents[E]) => resolve(args)) as never);
  });
}

describe("connecting", () => {
  it("nobody there", async () => {
    await expect(VfioUserClient.connect(path)).rejects.toMatchObject({ code: "ENOENT", syscall: "connect" });
    listen().kill();
  });

  it("the first connection is not retried: who calls decides", async () => {
    await expect(VfioUserClient.connect(path, { reconnect: true })).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("a server that vanishes and comes back", () => {
  it("is noticed at once: what is outstanding fails, what comes later waits for the next", async () => {
    const first = listen({ DEVICE_RESET: () => undefined });
    const client = await connect();
    const arrived = first.servers[0]!.next("DEVICE_RESET");
    const reset = client.reset();
    await arrived;
    const gone = event(client, "disconnected");
    first.kill();
    await expect(reset).rejects.toMatchObject({ code: "ECONNRESET" });
    expect((await gone)[0]).toBeInstanceOf(VfioError);
    expect(client.connected).toBe(false);
    const back = event(client, "reconnected");
    const info = client.getInfo();
    await event(client, "reconnectFailed");
    listen();
    await back;
    expect((await info).numRegions).toBe(9);
    expect(client.connected).toBe(true);
  });

  it("gets the DMA maps and the interrupts again, before any command", async () => {
    const first = listen();
    const client = await connect();
    const memory = client.shareMemory(8192);
    memory.bytes[4096] = 42;
    await client.dmaMap({ address: 0x1000n, memory, offset: 4096, writable: false });
    await client.dmaMap({ address: 0x9000n, memory: { bytes: new Uint8Array([7]) } });
    await client.dmaMap({ address: 0x5000n, memory, size: 4096 });
    await client.dmaUnmap(0x5000n, 4096);
    await client.irq(IrqIndex.MSIX).enable(2);
    await client.irq(IrqIndex.MSIX).mask(1);
    await client.irq(IrqIndex.MSI).enable(1);
    await client.irq(IrqIndex.MSI).disable();

    const gone = event(client, "disconnected");
    first.kill();
    await gone;
    const reset = client.reset();
    const second = listen();
    await event(client, "reconnected");
    await reset;

    const server = second.servers[0]!;
    const summary = server.requests.map(({ command, payload }) => {
      const { address, flags, index, start, count } = payload as Record<string, unknown>;
      return [command, address ?? index, flags, start, count].filter((value) => value !== undefined);
    });
    expect(summary).toEqual([
      ["VERSION"],
      ["DMA_MAP", 0x1000n, 1],
      ["DMA_MAP", 0x9000n, 3],
      ["DEVICE_SET_IRQS", IrqIndex.MSIX, 0x24, 0, 2],
      ["DEVICE_SET_IRQS", IrqIndex.MSIX, 0x09, 1, 1],
      ["DEVICE_RESET"],
    ]);
    expect(server.fds).toHaveLength(3);
    const next = client.irq(IrqIndex.MSIX).next();
    signalEventFd(server.fds[2]!);
    expect(await next).toBe(1);
    expect(await server.ask("DMA_READ", { address: 0x9000n, count: 1n })).toMatchObject({
      payload: { data: new Uint8Array([7]) },
    });
  });

  it("goes away again in the middle of being restored", async () => {
    const first = listen();
    const client = await connect();
    await client.dmaMap({ address: 0n, memory: { bytes: new Uint8Array(1) } });
    const gone = event(client, "disconnected");
    first.kill();
    await gone;
    let attempts = 0;
    listen({
      DMA_MAP: (_payload, server) => {
        if (++attempts === 3) return {};
        server.close();
        return undefined;
      },
    });
    await event(client, "reconnected");
    expect(attempts).toBe(3);
  });

  it("goes away again with its last answer", async () => {
    const first = listen();
    const client = await connect();
    await client.dmaMap({ address: 0n, memory: { bytes: new Uint8Array(1) } });
    const gone = event(client, "disconnected");
    first.kill();
    await gone;
    let attempts = 0;
    listen({
      DMA_MAP: (_payload, server, request) => {
        server.reply(request, {});
        if (++attempts < 3) server.closeWhenSent();
        return undefined;
      },
    });
    do await event(client, "reconnected");
    while (attempts < 3);
    expect((await client.getInfo()).numRegions).toBe(9);
  });

  it("refuses what it had before: tried again, and told", async () => {
    const first = listen();
    const client = await connect();
    await client.dmaMap({ address: 0n, memory: { bytes: new Uint8Array(1) } });
    const failed = event(client, "reconnectFailed");
    first.kill();
    await failed;
    const second = listen({ DMA_MAP: () => Errno.ENOMEM });
    let error: VfioError;
    do [error] = await event(client, "reconnectFailed");
    while (error.code !== "ENOMEM");
    second.kill();
    listen();
    await event(client, "reconnected");
  });

  it("may have other limits", async () => {
    const first = listen();
    const client = await connect();
    expect(client.limits.maxDataXferSize).toBe(4096);
    first.kill();
    const back = event(client, "reconnected");
    listen({ VERSION: ({ major, minor }) => ({ major, minor, data: undefined }) });
    await back;
    expect(client.limits.maxDataXferSize).toBe(1048576);
  });
});

describe("while there is no server", () => {
  async function alone(options: ClientOptions = {}): Promise<VfioUserClient> {
    const first = listen();
    const client = await connect(options);
    const gone = event(client, "disconnected");
    first.kill();
    await gone;
    return client;
  }

  it("commands wait no longer than their time", async () => {
    const client = await alone();
    await expect(client.reset({ timeoutMs: 20 })).rejects.toMatchObject({ code: "ETIMEDOUT" });
  });

  it("commands can be given up", async () => {
    const client = await alone();
    await expect(client.reset({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ECANCELED" });
    await expect(client.reset({ signal: AbortSignal.timeout(1) })).rejects.toMatchObject({
      code: "ECANCELED",
    });
  });

  it("close ends the waiting", async () => {
    const client = await alone();
    const reset = client.reset();
    client.close();
    await expect(reset).rejects.toMatchObject({ code: "ECANCELED" });
    await expect(client.reset()).rejects.toMatchObject({ code: "ENOTCONN" });
  });

  it("close in the middle of an attempt ends that too", async () => {
    const client = await alone();
    const silent = listen({ VERSION: () => undefined });
    const server = await silent.accepted();
    client.close();
    expect((await server.ended).code).toBe("ECONNRESET");
  });
});

it("without reconnect a client is over when its server is", async () => {
  const listener = listen();
  const client = await connect({ reconnect: false });
  const gone = event(client, "disconnected");
  listener.kill();
  await gone;
  await expect(client.getInfo()).rejects.toMatchObject({ code: "ENOTCONN" });
});
