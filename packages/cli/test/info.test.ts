import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VfioUserClient } from "@vfiokit/user";
import type { DeviceReport } from "../src/info/report.js";
import { bytes, table } from "../src/shared/tables.js";
import { scratch, Vfiokit } from "./vfiokit.js";

const dir = scratch();
const socket = dir.file("card.sock");
let server: Vfiokit;
beforeAll(async () => {
  server = Vfiokit.start(["serve", "serial", "--socket-path", socket, "--chardev", "null"]);
  await server.says(/vfio-user-pci/);
});
afterAll(async () => {
  await server.kill("SIGTERM");
  dir[Symbol.dispose]();
});

describe("vfiokit info", () => {
  it("prints the function as lspci -vv does", async () => {
    const { code, stdout } = await Vfiokit.run("info", socket);
    expect(code).toBe(0);
    for (const line of [
      "0700: 1b36:0002 (prog-if 02)",
      "\tSubsystem: 1b36:0002",
      "\tInterrupt: pin A routed to IRQ 0",
      "\tRegion 0: I/O ports at <unassigned> [disabled] [size=8]",
      "\tCapabilities: [40] Power Management version 3",
      "\tCapabilities: [48] Express (v2) Endpoint, IntMsgNum 0",
    ]) {
      expect(stdout.split("\n")).toContain(line);
    }
    expect(stdout).toMatch(/DevCap:.*\n.*FLReset\+/);
  });

  it("then what only vfio-user has: regions, interrupts, features, migration, limits", async () => {
    const { stdout } = await Vfiokit.run("info", socket);
    expect(stdout).toMatch(/^vfio-user 0\.1 at .*card\.sock \(can be reset\)$/m);
    expect(stdout).toMatch(
      /^Regions\n\t0 {2}BAR 0 {3}8 B {4}read write\n\t7 {2}config {2}4 KiB {2}read write\n\n/m,
    );
    expect(stdout).toMatch(/^Interrupts\n\t0 {2}INTx {2}1 {2}eventfd maskable automasked\n/m);
    expect(stdout).toMatch(/^Features\n(\t[A-Z_]+ +(get|set|get set)\n)+\n/m);
    expect(stdout).toMatch(/^Migration\n\tkinds {2}stop-copy pre-copy\n\tstate {2}RUNNING\n/m);
    expect(stdout).toMatch(/^Limits\n\tdescriptors in a message +\d+\n\tbytes in a transfer +1 MiB\n/m);
    expect(stdout).not.toContain("\x1b");
  });

  it("--json has the same as data", async () => {
    const { stdout } = await Vfiokit.run("info", "--json", socket);
    const report = JSON.parse(stdout) as DeviceReport;
    expect(report).toMatchObject({
      socket,
      protocol: "0.1",
      device: { pci: true, reset: true },
      config: { vendor: 0x1b36, device: 2, class: 0x0700, progIf: 2, interruptPin: 1, problems: [] },
      migration: { stopCopy: true, preCopy: true, state: "RUNNING" },
      limits: { maxDataXferSize: 1024 * 1024, pgsizes: 4096, writeMultiple: true },
    });
    expect(report.regions.map(({ index, size, mmap }) => [index, size, mmap])).toEqual([
      [0, 8, false],
      [7, 4096, false],
    ]);
    expect(report.irqs[0]).toMatchObject({ name: "INTx", count: 1, automasked: true });
    expect(report.config!.capabilities.map(({ name }) => name)).toEqual(["Power Management", "Express"]);
  });

  it("leaves the device as it was: an info in between does not disturb the next client", async () => {
    {
      using client = await VfioUserClient.connect(socket);
      await client.regionWrite(0, 7, Uint8Array.of(0x5a));
    }
    await Vfiokit.run("info", socket);
    using client = await VfioUserClient.connect(socket);
    const scratchRegister = new Uint8Array(1);
    await client.regionRead(0, 7, scratchRegister);
    expect(scratchRegister[0]).toBe(0x5a);
  });
});

describe("what goes wrong: exit code 1, and one line that says why", () => {
  it("nobody there", async () => {
    const { code, stdout, stderr } = await Vfiokit.run("info", dir.file("nobody"));
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^error: .*ENOENT.*nobody\n$/);
  });

  it("another client is attached", async () => {
    using _client = await VfioUserClient.connect(socket);
    const { code, stderr } = await Vfiokit.run("info", socket);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*Is another client, such as QEMU, attached\?\n$/);
  });

  it("no socket given: exit code 2", async () => {
    expect(await Vfiokit.run("info")).toMatchObject({ code: 2 });
  });
});

describe("text", () => {
  it.each([
    [0, "0 B"],
    [8, "8 B"],
    [1023, "1023 B"],
    [4096, "4 KiB"],
    [1536, "1.5 KiB"],
    [2 ** 40, "1 TiB"],
  ])("%i bytes: %s", (count, text) => {
    expect(bytes(count)).toBe(text);
  });

  it("columns line up", () => {
    expect(
      table([
        ["a", "bb", "c"],
        ["aaa", "b", ""],
      ]),
    ).toEqual(["a    bb  c", "aaa  b"]);
    expect(table([])).toEqual([]);
  });
});
