import { DmaAddressSpace, VfioError } from "@vfiokit/core";
import type { DmaMapRequest } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { FileBacking, MappedBacking, request } from "./memory.js";

const task = new Task("client");
const PAGE = 4096n;

/** The errno that an operation throws, or "ok". */
function outcome(operation: () => unknown): string {
  try {
    operation();
    return "ok";
  } catch (error) {
    if (error instanceof VfioError) return error.code;
    throw error;
  }
}

describe("DMA_MAP", () => {
  const existing = [request(0x10000n, 0x4000n, undefined)];
  const rules: [rule: string, map: DmaMapRequest, expected: string][] = [
    ["takes a page", request(0n, PAGE, undefined), "ok"],
    ["takes the last page of the address space", request((1n << 64n) - PAGE, PAGE, undefined), "ok"],
    ["refuses zero size", request(0n, 0n, undefined), "EINVAL"],
    ["refuses a size that is no multiple of a page", request(0n, 100n, undefined), "EINVAL"],
    ["refuses an address that is no multiple of a page", request(0x200n, PAGE, undefined), "EINVAL"],
    ["refuses a wrap at 2^64", request((1n << 64n) - PAGE, 2n * PAGE, undefined), "EINVAL"],
    ["refuses no permission", request(0n, PAGE, undefined, { readable: false, writable: false }), "EINVAL"],
    ["refuses the same map again", request(0x10000n, 0x4000n, undefined), "EEXIST"],
    ["refuses a part of a map", request(0x11000n, PAGE, undefined), "EEXIST"],
    ["refuses what holds a map", request(0xf000n, 0x8000n, undefined), "EEXIST"],
    ["refuses an overlap with a map's first page", request(0xf000n, 2n * PAGE, undefined), "EEXIST"],
    ["refuses an overlap with a map's last page", request(0x13000n, 2n * PAGE, undefined), "EEXIST"],
    ["takes what touches a map from below", request(0xf000n, PAGE, undefined), "ok"],
    ["takes what touches a map from above", request(0x14000n, PAGE, undefined), "ok"],
    ["refuses a backing of another size", request(0n, PAGE, new MappedBacking(100)), "EINVAL"],
    ["refuses a file beyond 2^53", request(0n, 1n << 60n, new FileBacking(0)), "EINVAL"],
  ];
  it.each(rules)("%s", (_rule, map, expected) => {
    const dma = new DmaAddressSpace();
    for (const earlier of existing) void dma.map(task, earlier);
    expect(outcome(() => dma.map(task, map))).toBe(expected);
    expect(dma.mapCount).toBe(expected === "ok" ? 2 : 1);
  });

  it("--strict-unmap: only exactly one map goes", () => {
    const dma = new DmaAddressSpace();
    for (const address of [0n, PAGE]) void dma.map(task, request(address, PAGE, undefined));
    for (const size of [2n * PAGE, 1n << 40n])
      expect(outcome(() => dma.unmap(task, 0n, size, true))).toBe("EINVAL");
    expect(outcome(() => dma.unmap(task, 4n * PAGE, PAGE, true))).toBe("ENOENT");
    expect(dma.mapCount).toBe(2);
    expect(outcome(() => dma.unmap(task, 0n, PAGE, true))).toBe("ok");
  });

  it("maps the whole address space at once", () => {
    const dma = new DmaAddressSpace();
    void dma.map(task, request(0n, 1n << 64n, undefined));
    expect(outcome(() => dma.map(task, request(0x7fff_ffff_f000n, PAGE, undefined)))).toBe("EEXIST");
    void dma.unmap(task, 0n, 1n << 64n);
    expect(dma.mapCount).toBe(0);
  });

  it("refuses more maps than the limit, but an overlap first", () => {
    const dma = new DmaAddressSpace({ maxMaps: 2 });
    void dma.map(task, request(0n, PAGE, undefined));
    void dma.map(task, request(PAGE, PAGE, undefined));
    expect(outcome(() => dma.map(task, request(2n * PAGE, PAGE, undefined)))).toBe("ENOSPC");
    expect(outcome(() => dma.map(task, request(PAGE, PAGE, undefined)))).toBe("EEXIST");
    void dma.unmap(task, 0n, PAGE);
    expect(outcome(() => dma.map(task, request(2n * PAGE, PAGE, undefined)))).toBe("ok");
  });

  it("aligns to the smallest of the page sizes", () => {
    const dma = new DmaAddressSpace({ pageSizes: 0x10000 | 0x200000 });
    expect(outcome(() => dma.map(task, request(PAGE, 0x10000n, undefined)))).toBe("EINVAL");
    expect(outcome(() => dma.map(task, request(0x10000n, PAGE, undefined)))).toBe("EINVAL");
    expect(outcome(() => dma.map(task, request(0x10000n, 0x10000n, undefined)))).toBe("ok");
  });

  it("page sizes below 4 KiB are refused", () => {
    expect(() => new DmaAddressSpace({ pageSizes: 0x200 })).toThrow("smallest page size");
  });

  it("errors name the range, and the map it meets", () => {
    const dma = new DmaAddressSpace();
    void dma.map(task, existing[0]!);
    expect(() => dma.map(task, request(0x13000n, 2n * PAGE, undefined))).toThrow(
      "EEXIST: 0x13000 to 0x15000: overlaps the map of 0x10000 to 0x14000",
    );
  });
});

describe("DMA_UNMAP", () => {
  function space(): DmaAddressSpace {
    const dma = new DmaAddressSpace();
    for (const [address, size] of [
      [0x10000n, 0x4000n],
      [0x14000n, 0x1000n],
      [0x20000n, 0x1000n],
    ] as const)
      void dma.map(task, request(address, size, undefined));
    return dma;
  }
  const rules: [rule: string, address: bigint, size: bigint, expected: string, left: number][] = [
    ["takes exactly one map", 0x10000n, 0x4000n, "ok", 2],
    ["takes several whole maps and the holes between", 0xf000n, 0x20000n, "ok", 0],
    ["refuses where nothing is mapped", 0x18000n, 0x1000n, "ENOENT", 3],
    ["refuses a huge range without a map, as QEMU with an IOMMU sends", 1n << 40n, 1n << 62n, "ENOENT", 3],
    ["refuses a part of a map", 0x10000n, 0x1000n, "EINVAL", 3],
    ["takes a map and the hole behind it", 0x14000n, 0xc000n, "ok", 2],
    ["refuses a range that begins inside a map", 0x13000n, 0x2000n, "EINVAL", 3],
    ["refuses a range that ends inside its second map", 0xf000n, 0x2000n, "EINVAL", 3],
    ["refuses zero size", 0x10000n, 0n, "EINVAL", 3],
    ["refuses misalignment", 0x10000n, 0x3fffn, "EINVAL", 3],
    ["refuses a wrap at 2^64", 0x10000n, (1n << 64n) - PAGE, "EINVAL", 3],
  ];
  it.each(rules)("%s", (_rule, address, size, expected, left) => {
    const dma = space();
    expect(outcome(() => dma.unmap(task, address, size))).toBe(expected);
    expect(dma.mapCount).toBe(left);
  });

  it("all at once, with or without maps", () => {
    const dma = space();
    void dma.unmapAll(task);
    expect(dma.mapCount).toBe(0);
    expect(outcome(() => dma.unmapAll(task))).toBe("ok");
  });
});

describe("a backing is released once", () => {
  function spaceWith(backing: MappedBacking): DmaAddressSpace {
    const dma = new DmaAddressSpace();
    void dma.map(task, request(0n, PAGE, backing));
    expect(backing.released).toBe(0);
    return dma;
  }

  it("by unmap", () => {
    const backing = new MappedBacking(4096);
    const dma = spaceWith(backing);
    void dma.unmap(task, 0n, PAGE);
    void dma.unmapAll(task);
    expect(backing.released).toBe(1);
  });

  it("by unmap of everything", () => {
    const backing = new MappedBacking(4096);
    void spaceWith(backing).unmapAll(task);
    expect(backing.released).toBe(1);
  });

  it("by disconnect, which forgets the client and stops logging", () => {
    const backing = new MappedBacking(4096);
    const dma = spaceWith(backing);
    dma.clientMemory = { read: () => Promise.resolve(), write: () => Promise.resolve() };
    dma.dirtyLog.start(PAGE, []);
    void dma.disconnect(task);
    expect([backing.released, dma.mapCount, dma.clientMemory, dma.dirtyLog.active]).toEqual([
      1,
      0,
      undefined,
      false,
    ]);
  });

  it("by a map that fails, whatever the reason", () => {
    const dma = new DmaAddressSpace({ maxMaps: 1 });
    void dma.map(task, request(0n, PAGE, undefined));
    for (const [address, size, expected] of [
      [0n, 0n, "EINVAL"],
      [0n, PAGE, "EEXIST"],
      [PAGE, PAGE, "ENOSPC"],
    ] as const) {
      const backing = new MappedBacking(4096);
      expect(outcome(() => dma.map(task, request(address, size, backing)))).toBe(expected);
      expect(backing.released).toBe(1);
    }
  });

  it("by a map whose task gives up waiting for the lock", async () => {
    const dma = new DmaAddressSpace();
    const other = new Task("other");
    await dma.mmapLock.downRead(other);
    const abort = new AbortController();
    const backing = new MappedBacking(4096);
    const mapping = dma.map(new Task("client", { signal: abort.signal }), request(0n, PAGE, backing));
    abort.abort(new Error("disconnected"));
    await expect(mapping).rejects.toThrow("disconnected");
    expect(backing.released).toBe(1);
    dma.mmapLock.upRead(other);
  });
});
