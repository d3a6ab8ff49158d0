import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { VfioUserClient } from "@vfiokit/user";
import { uartRegisters as reg } from "@vfiokit/devices";
import { Guest } from "../src/demo/guest.js";
import { pattern } from "./driver.js";
import { scratch, Vfiokit } from "./vfiokit.js";

// The command as a process, a real socket, a driver as a client: what a guest would see.

const serve = (socket: string, chardev: string) =>
  Vfiokit.start(["serve", "serial", "--socket-path", socket, "--chardev", chardev]);

async function open(socket: string): Promise<{ client: VfioUserClient; guest: Guest }> {
  const client = await VfioUserClient.connect(socket);
  const guest = new Guest(client);
  await guest.openTty();
  return { client, guest };
}

describe("--chardev stdio", () => {
  it("standard input goes to the guest, what the guest sends to standard output; the end of input ends nothing", async () => {
    using dir = scratch();
    await using server = serve(dir.file("s"), "stdio");
    await server.says(/vfio-user-pci/, "stderr");
    const { client, guest } = await open(dir.file("s"));
    server.stdin.write("typed");
    expect(Buffer.from(await guest.receive(5)).toString()).toBe("typed");
    server.stdin.end();
    await guest.send(Buffer.from("login: "));
    await server.says(/^login: $/);
    client.close();
    expect(await server.kill("SIGTERM")).toBe(0);
  });

  it("what the guest sent is delivered before the end", async () => {
    using dir = scratch();
    await using server = serve(dir.file("s"), "stdio");
    await server.says(/vfio-user-pci/, "stderr");
    const { client, guest } = await open(dir.file("s"));
    const text = "0123456789".repeat(50);
    await guest.send(Buffer.from(text));
    client.close();
    await server.kill("SIGTERM");
    expect(server.stdout).toBe(text);
  });
});

describe("--chardev unix", () => {
  it("carries bytes each way at once, unchanged, by interrupts", async () => {
    using dir = scratch();
    await using server = serve(dir.file("s"), `unix:${dir.file("tty")}`);
    await server.says(/vfio-user-pci/);
    const { client, guest } = await open(dir.file("s"));
    const line = connect(dir.file("tty"));
    await once(line, "connect");
    const out = pattern(2048);
    const back = pattern(3000).reverse();
    const seen: Buffer[] = [];
    line.on("data", (bytes: Buffer) => seen.push(bytes));
    line.write(back);
    const [received] = await Promise.all([guest.receive(back.length), guest.send(out)]);
    while (Buffer.concat(seen).length < out.length) await once(line, "data");
    expect(Buffer.concat(seen).equals(out)).toBe(true);
    expect(Buffer.from(received).equals(back)).toBe(true);
    expect(guest.interrupts).toBeGreaterThan(0);
    line.destroy();
    client.close();
  });

  it("what comes while no driver has the port open waits for the next one that opens it", async () => {
    using dir = scratch();
    await using server = serve(dir.file("s"), `unix:${dir.file("tty")}`);
    await server.says(/vfio-user-pci/);
    const { client, guest } = await open(dir.file("s"));
    await guest.write(reg.MCR, 0); // closed: DTR and RTS off
    const line = connect(dir.file("tty"));
    await once(line, "connect");
    line.write("early");
    await server.says(/peer connected/, "stderr");
    expect((await guest.read(reg.LSR)) & reg.LSR_DR).toBe(0);
    await guest.write(reg.FCR, 0x07); // a driver that opens the port empties the FIFOs first
    await guest.write(reg.MCR, reg.MCR_DTR | reg.MCR_RTS);
    expect(Buffer.from(await guest.receive(5)).toString()).toBe("early");
    line.destroy();
    client.close();
  });
});

it("a client that goes away leaves the device as it is; after SIGKILL the next server starts afresh", async () => {
  using dir = scratch();
  await using first = serve(dir.file("s"), "loopback");
  await first.says(/vfio-user-pci/);
  {
    const { client, guest } = await open(dir.file("s"));
    await guest.write(reg.SCR, 0x77);
    client.close();
  }
  {
    const { client, guest } = await open(dir.file("s"));
    expect(await guest.read(reg.SCR)).toBe(0x77);
    client.close();
  }
  await first.kill("SIGKILL");
  await using second = serve(dir.file("s"), "loopback");
  await second.says(/vfio-user-pci/);
  const { client, guest } = await open(dir.file("s"));
  expect(await guest.read(reg.SCR)).toBe(0);
  await guest.send(Buffer.from("there and back"));
  expect(Buffer.from(await guest.receive(14)).toString()).toBe("there and back");
  client.close();
});
