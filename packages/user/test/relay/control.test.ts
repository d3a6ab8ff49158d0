/** The control socket of a relay. */

import { expect, it, onTestFinished } from "vitest";
import { AdminClient } from "../../src/admin/index.js";
import { LineSocket } from "../../src/control/line-socket.js";
import { connectUnix } from "../../src/linux/index.js";
import type { MigrateEvent } from "../../src/migrate/index.js";
import { RelayClient, RelayControl, type Relay, type RelayOptions } from "../../src/relay/index.js";
import { Place, type TestServer } from "./support.js";

const OPTIONS = { maxDowntime_ms: 100, maxRounds: 5 };

interface Setup {
  readonly place: Place;
  readonly a: TestServer;
  readonly b: TestServer;
  readonly relay: Relay;
}

async function setup(options: Partial<RelayOptions> = {}): Promise<Setup> {
  const place = new Place();
  const a = await place.server();
  const b = await place.server();
  const relay = place.relay(a.path, options);
  const control = new RelayControl(relay, `${place.relayPath}.ctl`);
  control.listen();
  onTestFinished(() => control.close());
  return { place, a, b, relay };
}

async function open(place: Place): Promise<RelayClient> {
  const client = (await RelayClient.open(place.relayPath))!;
  onTestFinished(() => client.close());
  return client;
}

async function ask(place: Place, line: string): Promise<unknown> {
  using socket = new LineSocket(connectUnix(`${place.relayPath}.ctl`), 1 << 20);
  await socket.writeLine(line);
  return JSON.parse(new TextDecoder().decode(await socket.readLine()));
}

it("says that it is a relay, and where its device is", async () => {
  const { place, a } = await setup();
  expect(await (await open(place)).status()).toEqual({
    relay: true,
    listen: place.relayPath,
    server: a.path,
    connected: false,
    migrating: false,
    underWay: 0,
    snapshots: 0,
  });
});

it("a server is no relay, nor is a path with nothing", async () => {
  const { place, a } = await setup();
  expect(await RelayClient.open(a.path)).toBeUndefined();
  expect(await RelayClient.open(place.path("nothing"))).toBeUndefined();
});

it("moves the device, with every event and a result", async () => {
  const { place, b } = await setup();
  await place.client();
  const relay = await open(place);
  const events: MigrateEvent[] = [];
  const result = await relay.migrate(b.path, OPTIONS, (event) => events.push(event));
  expect(result).toMatchObject({ status: "migrated" });
  expect(result.pause_ms).toBeGreaterThan(0);
  expect(events.at(-1)).toMatchObject({ event: "done", id: result.id });
  expect(await relay.status()).toMatchObject({ server: b.path, connected: true });
});

it("a failed move is an error, and the connection goes on", async () => {
  const { place, a, b } = await setup();
  await place.client();
  const relay = await open(place);
  await expect(relay.migrate(place.path("nobody"), OPTIONS)).rejects.toMatchObject({ code: "ENOENT" });
  await expect(relay.migrate(a.path, OPTIONS)).rejects.toMatchObject({ code: "EINVAL" });
  expect(await relay.migrate(b.path, { ...OPTIONS, dryRun: true })).toMatchObject({ status: "compatible" });
  expect(await relay.status()).toMatchObject({ server: a.path });
});

it("a move is cancelled by its caller", async () => {
  const { place, a, b } = await setup();
  await place.client();
  const relay = await open(place);
  const abort = new AbortController();
  const onEvent = (event: MigrateEvent): void => {
    if (event.event === "phase" && event.phase === "precopy") abort.abort();
  };
  const moved = relay.migrate(b.path, { ...OPTIONS, bandwidth_Bps: 100 }, onEvent, abort.signal);
  await expect(moved).rejects.toMatchObject({ code: "ECANCELED", runs: "source" });
  expect(await relay.status()).toMatchObject({ server: a.path, migrating: false });
});

it("commands for a device go to the server of the moment", async () => {
  const { place, a, b, relay } = await setup();
  await relay.migrate(b.path, OPTIONS);
  using admin = new AdminClient(`${place.relayPath}.ctl`);
  const before = b.device.generation;
  expect(await admin.request({ command: "reset" })).toEqual({ generation: before + 1 });
  expect(b.device.generation).toBe(before + 1);
  expect(a.fn.value).toBe(0);
});

it.each([
  ["no JSON", "{", 'request "{": not JSON'],
  ["an array", "[]", 'request "[]": not a JSON object'],
  ["no target", '{"command":"migrate"}', "to is missing: an absolute path"],
  ["a relative target", '{"command":"migrate","to":"x"}', 'to is "x": an absolute path'],
  [
    "a limit that is none",
    '{"command":"migrate","to":"/x","options":{"maxDowntime_ms":"soon","maxRounds":1}}',
    'options.maxDowntime_ms is "soon": a number, 0 or more',
  ],
  [
    "an option that there is not",
    '{"command":"migrate","to":"/x","options":{"speed":1}}',
    "options.speed is 1: one of maxDowntime_ms, maxRounds, bandwidth_Bps, maxRestarts, id, dryRun",
  ],
])("%s is refused", async (_name, line, message) => {
  const { place } = await setup();
  expect(await ask(place, line)).toEqual({ error: { errno: 22, code: "EINVAL", message } });
});
