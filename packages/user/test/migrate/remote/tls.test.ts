import { once } from "node:events";
import { connect as connectTcp, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { connect as connectTls } from "node:tls";
import { beforeAll, describe, expect, it } from "vitest";
import { checkIdentity, connectRemoteTarget, Receiver, type TlsIdentity } from "@vfiokit/user";
import { Authority } from "./certificates.js";
import { FakeTarget, ID, insecure, pattern, Receiving } from "./support.js";

let ours: Authority;
let theirs: Authority;
let receiver: TlsIdentity;
let migrationClient: TlsIdentity;

/** Not every machine has it. */
const ipv6 = Object.values(networkInterfaces())
  .flat()
  .some((one) => one?.address === "::1")
  ? ["::1"]
  : [];

const YEAR_MS = 365 * 24 * 60 * 60 * 1000;
const yearsFromNow = (years: number) => new Date(Date.now() + years * YEAR_MS);

beforeAll(async () => {
  ours = await Authority.create("ours");
  theirs = await Authority.create("theirs");
  receiver = await ours.issue({ cn: "receiver" });
  migrationClient = await ours.issue({ cn: "client", names: ["client.lan"] });
});

const start = (security: TlsIdentity = receiver, allow?: readonly string[]) =>
  Receiving.start({ card: new FakeTarget() }, { security, allow });

describe("with certificates of one authority", () => {
  it("a device is moved", async () => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, { security: receiver });
    const target = await receiving.connect({ security: migrationClient });
    await target.begin();
    const image = pattern(2_000_000);
    await target.write(image);
    await target.prepare(ID);
    await target.activate(ID);
    target.close();
    await receiving.told("ended");
    expect(device.has(image)).toBe(true);
    expect((await receiving.told("connected")).peer).toMatch(/^127\.0\.0\.1:\d+ \(CN=client\)$/);
  });

  it("the receiver is known by a host name as well", async () => {
    await using receiving = await start();
    const target = await receiving.connect(
      { security: migrationClient },
      `tls://localhost:${receiving.port}`,
    );
    target.close();
  });

  it("TLS 1.2 is not spoken", async () => {
    await using receiving = await start();
    const { cert, key, ca } = migrationClient;
    const socket = connectTls({ port: receiving.port, cert, key, ca, maxVersion: "TLSv1.2" });
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/^ERR_SSL_.*ALERT_PROTOCOL_VERSION$/);
    expect((await receiving.told("refused")).message).toMatch(/no TLS connection/);
  });
});

it("a connection that never begins its handshake is closed when its time is over", async () => {
  await using receiving = await Receiving.start(
    { card: new FakeTarget() },
    { security: receiver, timing: { hello_ms: 50 } },
  );
  const silent = connectTcp(receiving.port, "127.0.0.1");
  await once(silent, "close");
  expect((await receiving.told("refused")).message).toMatch(/no TLS connection: .*handshake timeout/i);
});

it("64 silent TCP connections do not lock the receiver: a migration client is served at once", async () => {
  await using receiving = await start();
  const silent = Array.from({ length: 64 }, () => connectTcp(receiving.port, "127.0.0.1"));
  for (const socket of silent) socket.on("error", () => undefined);
  await receiving.told("refused", 64 - 56);
  (await receiving.connect({ security: migrationClient })).close();
  await receiving.told("connected");
  for (const socket of silent) socket.destroy();
});

describe("a migration client is refused, and told why", () => {
  it.each([
    [
      "without a certificate",
      () => Promise.resolve({ cert: undefined, key: undefined }),
      "shown no certificate",
    ],
    ["with one of another CA", () => theirs.issue({ cn: "client" }, ours), /unknown CA/],
    [
      "with one that has expired",
      () => ours.issue({ cn: "client", from: yearsFromNow(-2), until: yearsFromNow(-1) }),
      /your certificate: it has expired/,
    ],
    [
      "with one that is not valid yet",
      () => ours.issue({ cn: "client", from: yearsFromNow(1), until: yearsFromNow(2) }),
      /your certificate: it is not valid yet/,
    ],
    [
      "with one that is a server's only",
      () => ours.issue({ cn: "client", use: "serverAuth" }),
      /not made for this purpose/,
    ],
  ] as const)("%s", async (_name, identity, message) => {
    const device = new FakeTarget();
    await using receiving = await Receiving.start({ card: device }, { security: receiver });
    const security = { ...migrationClient, ...(await identity()), ca: ours.cert } as TlsIdentity;
    await expect(receiving.connect({ security })).rejects.toThrow(message);
    await expect(receiving.connect({ security })).rejects.toMatchObject({ code: "EACCES" });
    expect((await receiving.told("refused")).message).toMatch(message);
    expect(device.calls).toEqual([]);
  });

  it("with a name that is not allowed", async () => {
    await using receiving = await start(receiver, ["other", "else.lan"]);
    await expect(receiving.connect({ security: migrationClient })).rejects.toThrow(
      "EACCES: your certificate is of CN=client, DNS:client.lan, who is not among those allowed here",
    );
  });

  it.each(["client", "client.lan"])("but not with the allowed name %s", async (name) => {
    await using receiving = await start(receiver, ["other", name]);
    (await receiving.connect({ security: migrationClient })).close();
  });

  it("with a wildcard for the allowed name", async () => {
    await using receiving = await start(receiver, ["client.lan"]);
    const security = await ours.issue({ cn: "anybody", names: ["*.lan"] });
    await expect(receiving.connect({ security })).rejects.toThrow("not among those allowed");
  });

  it("when it does not speak TLS", async () => {
    await using receiving = await start();
    await expect(receiving.connect({ security: insecure })).rejects.toThrow(/^E(CONNRESET|PROTO): /);
    expect((await receiving.told("refused")).message).toMatch(/no TLS connection/);
  });
});

describe("a receiver is not trusted, and the message says why", () => {
  it.each([
    ["of another CA", () => theirs.issue({ cn: "receiver" }, ours), /the receiver's certificate: unknown CA/],
    [
      "for another host",
      () => ours.issue({ cn: "receiver", names: ["b.lan"] }),
      /the receiver's certificate: wrong name \(ERR_TLS_CERT_ALTNAME_INVALID\): .*127\.0\.0\.1/,
    ],
    [
      "that is a client's only",
      () => ours.issue({ cn: "receiver", use: "clientAuth" }),
      /the receiver's certificate: it is not made for this purpose/,
    ],
  ] as const)("with a certificate %s", async (_name, identity, message) => {
    await using receiving = await start(await identity());
    const connecting = receiving.connect({ security: migrationClient });
    await expect(connecting).rejects.toThrow(message);
    await expect(connecting).rejects.toMatchObject({ code: "EACCES" });
  });

  it("with none: it does not speak TLS", async () => {
    await using receiving = await Receiving.start({ card: new FakeTarget() });
    await expect(receiving.connect({ security: migrationClient })).rejects.toThrow(
      /^EPROTO: .*: no TLS 1\.3 server/,
    );
  });

  it("when nobody is there", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    server.close();
    await once(server, "close");
    const connecting = connectRemoteTarget(`tls://127.0.0.1:${port}`, { security: migrationClient });
    await expect(connecting).rejects.toThrow(/^ENOTCONN: 127\.0\.0\.1:\d+: .*ECONNREFUSED/);
  });

  it("when it accepts connections and says nothing", async () => {
    const server = createServer((socket) => socket.on("error", () => undefined)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const url = `tls://127.0.0.1:${port}`;
    const timing = { hello_ms: 50 };
    for (const security of [migrationClient, insecure])
      await expect(connectRemoteTarget(url, { security, timing })).rejects.toThrow(/^ETIMEDOUT: /);
    server.close();
  });
});

describe("this side's own files", () => {
  it("are refused when they do not fit: the message names the one", async () => {
    const other = await ours.issue({ cn: "other" });
    const expired = await ours.issue({ cn: "old", from: yearsFromNow(-2), until: yearsFromNow(-1) });
    const early = await ours.issue({ cn: "new", from: yearsFromNow(1), until: yearsFromNow(2) });
    const refusal = (identity: Partial<TlsIdentity>) => () =>
      checkIdentity({ ...migrationClient, ...identity });
    expect(refusal({})).not.toThrow();
    expect(refusal({ key: other.key })).toThrow("EACCES: key: it does not belong to the certificate");
    expect(refusal({ cert: "no" })).toThrow("EINVAL: cert: no PEM certificate");
    expect(refusal({ key: "no" })).toThrow("EINVAL: key: no PEM private key");
    expect(refusal({ ca: "no" })).toThrow("EINVAL: ca: no PEM certificate");
    expect(refusal(expired)).toThrow("EACCES: cert: it has expired, on ");
    expect(refusal(early)).toThrow("EACCES: cert: it is not valid before ");
    const devices = new Map();
    expect(() => new Receiver({ host: "127.0.0.1", port: 0, security: expired, devices })).toThrow(
      "EACCES: cert",
    );
  });
});

describe("without certificates", () => {
  it.each(["0.0.0.0", "192.0.2.1", "::"])("nothing is received at %s", async (host) => {
    const card = new FakeTarget();
    await expect(Receiving.start({ card }, { host })).rejects.toThrow(
      `EACCES: ${host} is no loopback address: without certificates only 127.0.0.1 and ::1 are allowed`,
    );
  });

  it("nothing is sent to another address", async () => {
    const connecting = connectRemoteTarget("tls://192.0.2.1:4711", { security: insecure });
    await expect(connecting).rejects.toThrow("EACCES: 192.0.2.1 is no loopback address");
  });

  it.each(["127.0.0.1", "127.8.8.8", "localhost", ...ipv6])("%s is allowed", async (host) => {
    const receiver = new Receiver({
      host,
      port: 0,
      security: insecure,
      devices: new Map([
        ["card", { open: () => Promise.reject(new Error()), handOver: () => Promise.reject(new Error()) }],
      ]),
    });
    const { port } = await receiver.listen();
    const socket = connectTcp(port, host);
    await once(socket, "connect");
    socket.destroy();
    await receiver.close();
  });
});
