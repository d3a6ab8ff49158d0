import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { RegionIndex } from "@vfiokit/core";
import { uartRegisters as reg } from "@vfiokit/devices";
import { connectRemoteTarget, LocalSource, VfioUserClient } from "@vfiokit/user";
import { Authority } from "../../../user/test/migrate/remote/certificates.js";
import { fillCard, phaseOf, serveCard, sumOfCard } from "../migrate/card.js";
import { scratch, Vfiokit } from "../vfiokit.js";

// Each starts up to six processes of Node's.
vi.setConfig({ testTimeout: 120_000 });

const RUNNING = { phase: "none", state: "RUNNING" };
const GIVEN = { phase: "given", state: "STOP" };

/** Certificates as files: options of both sides, and the files that one side has. */
const files = scratch();
let receiverTls: string[];
let clientTls: string[];
let strangerTls: string[];

beforeAll(async () => {
  const ours = await Authority.create("ours");
  const theirs = await Authority.create("theirs");
  const options = async (authority: Authority, cn: string) => {
    const { cert, key, ca } = await authority.issue({ cn }, ours);
    const write = (kind: string, text: string) => {
      const path = files.file(`${cn}.${kind}.pem`);
      writeFileSync(path, text);
      return [`--${kind}`, path];
    };
    return [...write("cert", cert), ...write("key", key), ...write("ca", ca)];
  };
  receiverTls = await options(ours, "receiver");
  clientTls = await options(ours, "client");
  strangerTls = await options(theirs, "stranger");
});

afterAll(() => files[Symbol.dispose]());

/** A receiver, and the URL that it says. */
async function receiving(to: readonly string[], ...options: string[]) {
  const args = ["receive", "--listen", "tls://127.0.0.1:0", ...to.flatMap((one) => ["--to", one])];
  const command = Vfiokit.start([...args, ...(options.length > 0 ? options : receiverTls)]);
  const [, url] = await command.says(/listening at (tls:\/\/127\.0\.0\.1:\d+)/);
  return Object.assign(command, { url: url! });
}

/** Two servers of memory cards, the first filled, and a receiver for the second. */
async function hosts(...options: string[]) {
  const dir = scratch();
  const [a, b] = [dir.file("a"), dir.file("b")];
  const [from, to] = await Promise.all([serveCard(a), serveCard(b)]);
  const sum = await fillCard(a, 3);
  const receiver = await receiving([`card=${b}`], ...options);
  return {
    a,
    b,
    sum,
    from,
    to,
    receiver,
    url: receiver.url,
    async [Symbol.asyncDispose]() {
      for (const one of [receiver, from, to]) await one[Symbol.asyncDispose]();
      dir[Symbol.dispose]();
    },
  };
}

const insecure = "--insecure-loopback";

describe("vfiokit receive and vfiokit migrate", () => {
  it("move a device over mutual TLS", async () => {
    await using all = await hosts();
    const { code, stdout, stderr } = await Vfiokit.run("migrate", all.a, all.url, ...clientTls);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`${all.a} -> ${all.url}: migrated`);
    expect(await sumOfCard(all.b)).toBe(all.sum);
    expect(await phaseOf(all.a)).toEqual(GIVEN);
    expect(await phaseOf(all.b)).toEqual(RUNNING);
    await all.receiver.says(/card: the device runs\ncard: the migration client is done\n/);
    expect(all.receiver.stdout).toMatch(/card: 127\.0\.0\.1:\d+ \(CN=client\) is here/);
    expect(await all.receiver.kill("SIGTERM")).toBe(0);
    expect(all.receiver.stderr).toBe("");
  });

  it("move two devices through one port at once, and tell it as lines of JSON", async () => {
    using dir = scratch();
    const sockets = ["a1", "a2", "b1", "b2"].map((name) => dir.file(name));
    const servers = await Promise.all(sockets.map((path) => serveCard(path)));
    const sums = [await fillCard(sockets[0]!, 5), await fillCard(sockets[1]!, 6)];
    const args = ["--json", ...receiverTls];
    await using receiver = await receiving([`one=${sockets[2]!}`, `two=${sockets[3]!}`], ...args);
    const moved = await Promise.all([
      Vfiokit.run("migrate", sockets[0]!, `${receiver.url}/one`, ...clientTls),
      Vfiokit.run("migrate", sockets[1]!, `${receiver.url}/two`, ...clientTls),
    ]);
    expect(moved).toMatchObject([{ code: 0 }, { code: 0 }]);
    expect(await Promise.all([sumOfCard(sockets[2]!), sumOfCard(sockets[3]!)])).toEqual(sums);
    expect(await receiver.kill("SIGTERM")).toBe(0);
    const events = receiver.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events[0]).toMatchObject({ event: "listening", url: receiver.url });
    for (const device of ["one", "two"]) {
      const own = events.filter((event) => event["device"] === device).map(({ event }) => event);
      expect(own).toEqual(["connected", "begun", "prepared", "activated", "ended"]);
    }
    for (const server of servers) await server[Symbol.asyncDispose]();
  });

  it("move a serial card with bytes in its FIFO", async () => {
    using dir = scratch();
    const serve = async (path: string) => {
      const server = Vfiokit.start(["serve", "serial", "--socket-path", path, "--chardev", "loopback"]);
      await server.says(/To administer it/);
      return server;
    };
    await using _from = await serve(dir.file("a"));
    await using _to = await serve(dir.file("b"));
    const uart = async (path: string) => {
      const client = await VfioUserClient.connect(path);
      const io = RegionIndex.BAR0;
      return {
        write: (register: number, value: number) => client.regionWrite(io, register, Uint8Array.of(value)),
        async read(register: number) {
          const byte = new Uint8Array(1);
          await client.regionRead(io, register, byte);
          return byte[0]!;
        },
        [Symbol.dispose]: () => client.close(),
      };
    };
    const text = Buffer.from("half-way there");
    {
      using card = await uart(dir.file("a"));
      await card.write(reg.LCR, 0x03);
      await card.write(reg.FCR, reg.FCR_FIFO_ENABLE | reg.FCR_TRIGGER);
      await card.write(reg.MCR, reg.MCR_DTR | reg.MCR_RTS);
      await card.write(reg.SCR, 0x5a);
      for (const byte of text) await card.write(reg.THR, byte);
      while (!((await card.read(reg.LSR)) & reg.LSR_DR));
    }
    await using receiver = await receiving([dir.file("b")]);
    expect(await Vfiokit.run("migrate", dir.file("a"), `${receiver.url}/b`, ...clientTls)).toMatchObject({
      code: 0,
    });
    using card = await uart(dir.file("b"));
    expect(await card.read(reg.SCR)).toBe(0x5a);
    const received: number[] = [];
    while (received.length < text.length)
      if ((await card.read(reg.LSR)) & reg.LSR_DR) received.push(await card.read(reg.RBR));
    expect(Buffer.from(received).toString()).toBe("half-way there");
  });

  it("--dry-run looks, and leaves both as they are", async () => {
    await using all = await hosts();
    const look = () => Vfiokit.run("migrate", all.a, all.url, "--dry-run", ...clientTls);
    expect(await look()).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/it can be migrated\n$/) as string,
    });
    expect([await phaseOf(all.a), await phaseOf(all.b)]).toEqual([RUNNING, RUNNING]);
    // One that was given away would be dropped for a new image, and is not for a look.
    expect(await Vfiokit.run("migrate", all.b, all.a)).toMatchObject({ code: 0 });
    expect(await look()).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("was given away to") as string,
    });
    expect(await phaseOf(all.b)).toEqual(GIVEN);
  });

  it("a certificate of another CA: both are told, and the source runs on", async () => {
    await using all = await hosts();
    const { code, stderr } = await Vfiokit.run("migrate", all.a, all.url, ...strangerTls);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: EACCES: your certificate: unknown CA/m);
    await all.receiver.says(/was refused: EACCES: your certificate: unknown CA/);
    expect([await phaseOf(all.a), await phaseOf(all.b)]).toEqual([RUNNING, RUNNING]);
  });

  it("without certificates, on loopback, and loudly", async () => {
    await using all = await hosts(insecure);
    const { code, stderr } = await Vfiokit.run("migrate", all.a, all.url, insecure);
    expect([code, stderr]).toEqual([
      0,
      expect.stringMatching(/^warning: --insecure-loopback: no encryption/),
    ]);
    expect(all.receiver.stderr).toMatch(/^warning: --insecure-loopback: no encryption/);
    expect(await sumOfCard(all.b)).toBe(all.sum);
  });
});

describe("what ends in the middle", () => {
  /** A migration that takes its time: 1 MiB at 256 KiB/s. */
  const slowly = (a: string, url: string) =>
    Vfiokit.start(["migrate", a, url, "--bandwidth", "256K", "--max-downtime", "0", insecure]);

  it("the receiver, by SIGTERM: the image is discarded, the migration client is told, and the source runs on", async () => {
    await using all = await hosts(insecure);
    await using migrationClient = slowly(all.a, all.url);
    await all.receiver.says(/an image is coming/);
    expect(await all.receiver.kill("SIGTERM")).toBe(0);
    expect(all.receiver.stdout).toContain("the receiver ends: what was loaded is discarded");
    expect(await migrationClient.ended).toBe(1);
    expect(migrationClient.stderr).toContain("the receiver was ended");
    expect([await phaseOf(all.a), await phaseOf(all.b)]).toEqual([RUNNING, RUNNING]);
    expect(await sumOfCard(all.a)).toBe(all.sum);
  });

  it("the receiver, by SIGKILL: the migration client tries for as long as was agreed, and the source runs on", async () => {
    await using all = await hosts(insecure, "--resume-window", "0.5");
    await using migrationClient = slowly(all.a, all.url);
    await all.receiver.says(/an image is coming/);
    await all.receiver.kill("SIGKILL");
    expect(await migrationClient.ended).toBe(1);
    expect(migrationClient.stderr).toContain("could not be made again within 0.5 s");
    expect(await phaseOf(all.a)).toEqual(RUNNING);
    expect(await sumOfCard(all.a)).toBe(all.sum);
  });

  it("the migration client, by SIGKILL: the receiver waits for it, and then discards the image", async () => {
    await using all = await hosts(insecure, "--resume-window", "0.5");
    await using migrationClient = slowly(all.a, all.url);
    await all.receiver.says(/an image is coming/);
    await migrationClient.kill("SIGKILL");
    await all.receiver.says(/it can be continued for 0.5 s/);
    await all.receiver.says(/the migration client has not come again: what was loaded is discarded/);
    await all.receiver.says(/card: the migration client has not come again\n/);
    expect(await phaseOf(all.b)).toEqual(RUNNING);
    expect(await Vfiokit.run("migrate", all.a, all.url, insecure)).toMatchObject({ code: 0 });
    expect(await sumOfCard(all.b)).toBe(all.sum);
  });

  it("the migration client, after `prepare`: --recover through the receiver decides", async () => {
    await using all = await hosts(insecure);
    {
      using source = await LocalSource.connect(all.a);
      const target = await connectRemoteTarget(all.url, { security: { kind: "insecure-loopback" } });
      await source.setState("STOP_COPY");
      await target.begin();
      for (let bytes; (bytes = await source.read()).length > 0;) await target.write(bytes);
      const { instance } = await source.describe();
      await target.prepare(`${instance!}0123456789abcdef`);
      target.close();
    }
    await all.receiver.says(
      /the device is prepared and stopped: "vfiokit migrate --recover FROM TO" decides/,
    );
    expect(await phaseOf(all.b)).toEqual({ phase: "prepared", state: "STOP" });
    const { code, stdout } = await Vfiokit.run("migrate", all.a, all.url, "--recover", insecure);
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/^\S+\/a runs: hand-over \w{32}: \S+ was not given away/),
    ]);
    await all.receiver.says(/card: recovery by 127\.0\.0\.1:\d+: what was loaded is discarded\n/);
    expect([await phaseOf(all.a), await phaseOf(all.b)]).toEqual([RUNNING, RUNNING]);
    expect(await sumOfCard(all.a)).toBe(all.sum);
  });
});

describe("vfiokit receive: wrong usage", () => {
  const at = ["--listen", "tls://127.0.0.1:0"];
  const to = ["--to", "card=/run/card.sock"];

  it.each([
    ["no certificates", [...at, ...to], /no --cert, no --key, no --ca: both sides show a certificate/],
    ["one of three", [...at, ...to, "--cert", "c"], /no --key, no --ca: both sides/],
    [
      "certificates, and none",
      [...at, ...to, insecure, "--ca", "c"],
      /give certificates or --insecure-loopback, not both/,
    ],
    ["names without certificates", [...at, ...to, insecure, "--allow", "x"], /--allow needs certificates/],
    ["nowhere to listen", [...to, insecure], /required option '--listen <url>'/],
    ["no device", [...at, insecure], /required option '--to <name=socket>'/],
    ["an address without a port", ["--listen", "tls://127.0.0.1", ...to, insecure], /tls:\/\/host:port/],
    ["another scheme", ["--listen", "tcp://127.0.0.1:1", ...to, insecure], /tls:\/\/host:port/],
    ["a device in the address", ["--listen", "tls://127.0.0.1:1/card", ...to, insecure], /--to does that/],
    ["a device twice", [...at, ...to, "--to", "card=/run/other", insecure], /there is a device card already/],
    ["no seconds", [...at, ...to, insecure, "--resume-window", "soon"], /must be a time up to 24h/],
  ])("%s", async (_name, args, message) => {
    const { code, stderr } = await Vfiokit.run("receive", ...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });

  it.each([
    [
      "an address that others reach",
      ["tls://0.0.0.0:0", insecure],
      /error: EACCES: 0\.0\.0\.0 is no loopback address/,
    ],
    [
      "a file that is not there",
      ["tls://127.0.0.1:0", "--cert", "/none", "--key", "k", "--ca", "c"],
      /--cert \/none: ENOENT/,
    ],
  ])("%s", async (_name, [url, ...args], message) => {
    const { code, stderr } = await Vfiokit.run("receive", "--listen", url!, ...to, ...args);
    expect([code, stderr]).toEqual([1, expect.stringMatching(message)]);
  });

  it("a key that is not the certificate's, a port that is taken: one line says which", async () => {
    const mixed = [...receiverTls.slice(0, 2), ...clientTls.slice(2)];
    const wrong = await Vfiokit.run("receive", ...at, ...to, ...mixed);
    expect(wrong).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^error: --key \S+: it does not belong to the certificate\n$/) as string,
    });
    await using first = await receiving(["card=/none"]);
    const second = await Vfiokit.run("receive", "--listen", first.url, ...to, ...receiverTls);
    expect(second).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^error: 127\.0\.0\.1 port \d+: .*EADDRINUSE.*\n$/) as string,
    });
  });
});
