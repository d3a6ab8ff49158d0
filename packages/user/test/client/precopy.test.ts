/** PRE_COPY over vfio-user: the client against this project's server. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { definePciDevice, PciDevice, sections, TrackedMemory, trackedMemory } from "@vfiokit/core";
import { MigrationFlags, MigrationState } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { Feature } from "@vfiokit/user/wire";
import { VfioUserClient } from "../../src/client/index.js";
import { VfioUserServer } from "../../src/server/index.js";

const SIZE = 8 * 1024 * 1024;

async function setup() {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-"));
  const path = join(folder, "device.sock");
  const memory = new TrackedMemory(SIZE);
  const broken = { run: false };
  const device = new PciDevice(
    definePciDevice({
      name: "memory",
      id: { vendor: 0x1b36, device: 0x01fe, classCode: 0x058000 },
      bars: [],
      create: () => ({
        reset: () => memory.clear(),
        run: () => {
          if (broken.run) throw new Error("it does not run");
        },
        state: sections({ memory: trackedMemory(memory) }),
      }),
    }),
  );
  const server = new VfioUserServer(device, { socketPath: path });
  await server.listen();
  const client = await VfioUserClient.connect(path);
  onTestFinished(async () => {
    client.close();
    await server.close();
    await device.close(new Task("test"));
    rmSync(folder, { recursive: true, force: true });
  });
  return { memory, device, broken, client, migration: client.migration };
}

async function copyAll(from: VfioUserClient, to: VfioUserClient): Promise<number> {
  let total = 0;
  for await (const chunk of from.migration.stream()) {
    await to.migration.write(chunk);
    total += chunk.length;
  }
  return total;
}

it("memory is copied while the device runs, and what it writes meanwhile again", async () => {
  const [from, to] = [await setup(), await setup()];
  from.memory.fill(1);
  expect(await from.migration.precopyInfo()).toBeUndefined(); // not in PRE_COPY
  await to.migration.setState("RESUMING");
  await from.migration.setState("PRE_COPY");
  expect((await from.migration.precopyInfo())!.initialBytes).toBeGreaterThan(SIZE);
  expect(Number(await from.migration.dataSize())).toBeGreaterThan(SIZE);

  await copyAll(from.client, to.client);
  expect(await from.migration.precopyInfo()).toEqual({
    initialBytes: 0,
    dirtyBytes: 0,
    reinitialized: false,
  });
  from.memory.fill(2, 4096 * 10, 4096 * 12);
  expect((await from.migration.precopyInfo())!.dirtyBytes).toBeGreaterThanOrEqual(8192);
  expect(await copyAll(from.client, to.client)).toBeLessThan(10_000);
  from.memory.replaced();
  expect(await from.migration.precopyInfo()).toMatchObject({ reinitialized: true });

  from.memory.fill(3, 100, 101);
  await from.migration.setState("STOP_COPY");
  await copyAll(from.client, to.client);
  await to.migration.setState("RUNNING");
  expect(to.memory.bytes.every((byte, i) => byte === from.memory.bytes[i])).toBe(true);
});

it("vfio-user has no P2P states: they are not offered, not taken, and not shown", async () => {
  const { migration, broken, device } = await setup();
  expect(device.migration!.flags & MigrationFlags.P2P).not.toBe(0);
  expect(await migration.flags()).toBe(MigrationFlags.STOP_COPY | MigrationFlags.PRE_COPY);
  for (const state of ["RUNNING_P2P", "PRE_COPY_P2P"] as const)
    await expect(migration.setState(state)).rejects.toMatchObject({ code: "EINVAL" });

  await migration.setState("STOP");
  broken.run = true;
  await expect(migration.setState("RUNNING")).rejects.toThrow();
  expect(device.migration!.state).toBe(MigrationState.RUNNING_P2P);
  expect(await migration.state()).toBe("STOP");
  broken.run = false;
  await migration.setState("RUNNING");
  expect(await migration.state()).toBe("RUNNING");
});

it("a client that asks for reliable flags first, as for Linux, gets them", async () => {
  const { migration } = await setup();
  await migration.set(Feature.MIG_PRECOPY_INFO, new Uint8Array());
  expect(await migration.probe(Feature.MIG_PRECOPY_INFO, "get-set")).toBe(true);
});
