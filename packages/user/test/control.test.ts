import { expect, onTestFinished, it } from "vitest";
import { ControlServer } from "../src/control/index.js";
import { RawAdmin, scratch } from "./admin/support.js";

/** A control socket that answers with what it is told, and gives its peers 50 ms. */
function serve(result: object): string {
  const dir = scratch();
  const path = dir.file("ctl");
  const server = new ControlServer({
    path,
    maxLine: 4096,
    withinMs: 50,
    log: () => undefined,
    perform: () => Promise.resolve(result),
  });
  server.listen();
  onTestFinished(async () => {
    await server.close();
    dir[Symbol.dispose]();
  });
  return path;
}

it("half a line, and silence: closed when its time is over", async () => {
  using admin = new RawAdmin(serve({}));
  admin.send('{"comm');
  expect(await admin.line()).toBeUndefined();
});

it("a byte now and then: the time is the line's, and not the byte's", async () => {
  using admin = new RawAdmin(serve({}));
  const drip = setInterval(() => admin.send(" "), 10);
  expect(await admin.line()).toBeUndefined();
  clearInterval(drip);
});

it("silence between two requests is no fault", async () => {
  using admin = new RawAdmin(serve({ ok: true }));
  expect(await admin.ask({})).toEqual({ result: { ok: true } });
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(await admin.ask({})).toEqual({ result: { ok: true } });
});

it("a peer that asks and does not read: closed, and its replies are not kept", async () => {
  using admin = new RawAdmin(serve({ text: "x".repeat(900_000) }));
  admin.socket.pause();
  for (let n = 0; n < 20; n++) admin.send("{}\n");
  await new Promise((resolve) => setTimeout(resolve, 300));
  admin.socket.resume();
  // What the kernel had taken arrives, and then the end.
  let whole = 0;
  while ((await admin.line()) !== undefined) whole++;
  expect(whole).toBeLessThan(20);
});
