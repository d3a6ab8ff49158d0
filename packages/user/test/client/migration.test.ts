import { describe, expect, it } from "vitest";
import { Errno } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import {
  Feature,
  FEATURE_MASK,
  FeatureDmaLoggingReport,
  FeatureDmaLoggingReportRequest,
  FeatureFlags,
  FeatureMigDataSize,
  FeatureMigration,
  FeatureMigState,
  FeaturePrecopyInfo,
  PrecopyInfoFlags,
} from "@vfiokit/user/wire";
import { connected } from "./fake-server.js";

/** A server whose migration is a stream of bytes, handed out in chunks. */
async function migratable(stream = new Uint8Array(10_000).map((_, i) => i)) {
  let state: number = MigrationState.RUNNING;
  let at = 0;
  const written: number[] = [];
  const { client, server } = await connected({
    DEVICE_FEATURE: ({ flags, argsz, data }) => {
      const reply = (bytes: Uint8Array) => ({ argsz, flags, data: bytes });
      switch (flags & ~FeatureFlags.PROBE) {
        case FeatureFlags.GET | Feature.MIGRATION:
          return reply(flags & FeatureFlags.PROBE ? data : FeatureMigration.encode({ flags: 5n }));
        case FeatureFlags.GET | Feature.MIG_DEVICE_STATE:
          return reply(FeatureMigState.encode({ device_state: state, data_fd: -1 }));
        case FeatureFlags.SET | Feature.MIG_DEVICE_STATE:
          state = FeatureMigState.decode(data).device_state;
          return reply(data);
        case FeatureFlags.GET | Feature.MIG_DATA_SIZE:
          return reply(FeatureMigDataSize.encode({ stop_copy_length: BigInt(stream.length) }));
        case FeatureFlags.SET | Feature.DMA_LOGGING_START:
        case FeatureFlags.SET | Feature.DMA_LOGGING_STOP:
          return reply(data);
        case FeatureFlags.GET | Feature.DMA_LOGGING_REPORT: {
          const report = FeatureDmaLoggingReportRequest.decode(data);
          const bitmap = new Uint8Array(16).fill(1);
          return reply(FeatureDmaLoggingReport.encode({ ...report, bitmap }));
        }
        default:
          return Errno.ENOTTY;
      }
    },
    MIG_DATA_READ: ({ size }) => {
      const data = stream.slice(at, at + size);
      at += data.length;
      return { argsz: 8 + data.length, size: data.length, data };
    },
    MIG_DATA_WRITE: ({ data }) => {
      written.push(...data);
      return {};
    },
  });
  return { client, server, migration: client.migration, stream, written };
}

describe("migration", () => {
  it("flags, or 0 where there are none", async () => {
    const { migration } = await migratable();
    expect(await migration.flags()).toBe(5);
    const { client } = await connected({ DEVICE_FEATURE: () => Errno.ENOTTY });
    expect(await client.migration.flags()).toBe(0);
  });

  it("state, by name", async () => {
    const { migration } = await migratable();
    expect(await migration.state()).toBe("RUNNING");
    await migration.setState("STOP_COPY");
    expect(await migration.state()).toBe("STOP_COPY");
  });

  it("a state that does not exist is the server's fault", async () => {
    const { client } = await connected({
      DEVICE_FEATURE: ({ argsz, flags }) => ({
        argsz,
        flags,
        data: FeatureMigState.encode({ device_state: 99, data_fd: -1 }),
      }),
    });
    await expect(client.migration.state()).rejects.toMatchObject({ code: "EPROTO" });
  });

  it("the stream is read to its end, a chunk at a time", async () => {
    const { migration, stream, server } = await migratable();
    const chunks: Uint8Array[] = [];
    for await (const chunk of migration.stream(1024)) chunks.push(chunk);
    expect(Buffer.concat(chunks)).toEqual(Buffer.from(stream));
    expect(chunks.map(({ length }) => length)).toEqual([...Array<number>(9).fill(1024), 784]);
    expect(server.requests.at(-1)).toMatchObject({ payload: { argsz: 8 + 1024, size: 1024 } });
  });

  it("a stream whose length is a multiple of the chunk ends with an empty read", async () => {
    const { migration, server } = await migratable(new Uint8Array(8192));
    let total = 0;
    for await (const chunk of migration.stream()) total += chunk.length;
    expect(total).toBe(8192);
    expect(server.requests.filter(({ command }) => command === "MIG_DATA_READ")).toHaveLength(3);
  });

  it("writes are cut to what the server takes", async () => {
    const { migration, written, stream, server } = await migratable();
    await migration.write(stream);
    expect(Uint8Array.from(written)).toEqual(stream);
    expect(server.requests.filter(({ command }) => command === "MIG_DATA_WRITE")).toHaveLength(3);
  });

  it("a server that gives more than it was asked for", async () => {
    const { client } = await connected({
      MIG_DATA_READ: ({ size }) => ({ argsz: 0, size: size + 1, data: new Uint8Array(size + 1) }),
    });
    await expect(client.migration.read(10)).rejects.toMatchObject({ code: "EPROTO" });
  });

  it("precopy info, or nothing where the server does not tell", async () => {
    const { client } = await connected({
      DEVICE_FEATURE: ({ argsz, flags }) => {
        if (flags !== (FeatureFlags.GET | Feature.MIG_PRECOPY_INFO)) return Errno.ENOTTY;
        const info = { argsz: 24, flags: PrecopyInfoFlags.REINIT, initial_bytes: 2n ** 40n, dirty_bytes: 7n };
        return { argsz, flags, data: FeaturePrecopyInfo.encode(info) };
      },
    });
    expect(await client.migration.precopyInfo()).toEqual({
      initialBytes: 2 ** 40,
      dirtyBytes: 7,
      reinitialized: true,
    });
    for (const errno of [Errno.ENOTTY, Errno.EINVAL, Errno.EOPNOTSUPP]) {
      const without = await connected({ DEVICE_FEATURE: () => errno });
      expect(await without.client.migration.precopyInfo()).toBeUndefined();
    }
    const failing = await connected({ DEVICE_FEATURE: () => Errno.EIO });
    await expect(failing.client.migration.precopyInfo()).rejects.toMatchObject({ errno: Errno.EIO });
  });

  it("the size of the stream, and whether there is a feature", async () => {
    const { migration } = await migratable();
    expect(await migration.dataSize()).toBe(10_000n);
    expect(await migration.probe(Feature.MIGRATION, "get")).toBe(true);
    expect(await migration.probe(Feature.MIGRATION, "set")).toBe(false);
    expect(await migration.probe(999, "any")).toBe(false);
  });
});

describe("dirty logging", () => {
  it("start, report, stop", async () => {
    const { migration, server } = await migratable();
    expect(await migration.startLogging(4096n, [{ iova: 0n, length: 0x80000n }])).toBe(4096n);
    const bitmap = await migration.dirtyPages({ iova: 0n, length: 0x80000n }, 4096n);
    expect(bitmap).toEqual(new Uint8Array(16).fill(1));
    expect(server.requests.at(-1)).toMatchObject({ payload: { argsz: 8 + 24 + 16 } });
    await migration.stopLogging();
    const features = server.requests
      .slice(1)
      .map(({ payload }) => (payload as { flags: number }).flags & FEATURE_MASK);
    expect(features).toEqual([6, 8, 7]);
  });

  it("a bitmap of the wrong length", async () => {
    const { migration } = await migratable();
    await expect(migration.dirtyPages({ iova: 0n, length: 4096n }, 4096n)).rejects.toMatchObject({
      code: "EPROTO",
    });
  });

  it("a page size that is no power of two does not leave the client", async () => {
    const { migration, server } = await migratable();
    await expect(migration.startLogging(1000n)).rejects.toMatchObject({ code: "EINVAL" });
    expect(server.requests).toHaveLength(1);
  });
});
