import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { EndpointGoneError } from "@vfiokit/user";
import { HandOverControl } from "../../src/migrate/hand-over-control.js";
import { scratch, Served, smallCard } from "./support.js";

const ID = "0123456789abcdef0123456789abcdef";
const STATUS = {
  phase: "none",
  wasReset: false,
  state: "RUNNING",
  generation: 0,
  instance: "0123456789abcdef",
};

/** A control socket that answers as told. @param answer undefined: not at all; "end": hangs up */
async function fakeControl(path: string, answer: (request: { step: string }) => object | "end" | undefined) {
  const requests: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("data", (bytes: Buffer) => {
      const request = JSON.parse(bytes.toString()) as { step: string };
      requests.push(request.step);
      const reply = answer(request);
      if (reply === "end") socket.destroy();
      else if (reply) socket.write(`${JSON.stringify(reply)}\n`);
    });
  }).listen(path);
  await once(server, "listening");
  return {
    requests,
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe("a device's part in the hand-over, through its control socket", () => {
  it("there is none: undefined", async () => {
    using dir = scratch();
    expect(await HandOverControl.open(dir.file("nobody"))).toBeUndefined();
  });

  it("there is none where it was said to be: EACCES", async () => {
    using dir = scratch();
    await expect(HandOverControl.open(dir.file("a"), dir.file("b"))).rejects.toMatchObject({
      code: "EACCES",
    });
  });

  it("a server from before there was a hand-over: undefined", async () => {
    using dir = scratch();
    using _ = await fakeControl(dir.file("a.ctl"), () => ({
      error: { errno: 22, code: "EINVAL", message: "command: one of info" },
    }));
    expect(await HandOverControl.open(dir.file("a"))).toBeUndefined();
  });

  it("a server that has ended is gone: what it was asked for does not matter any more", async () => {
    using dir = scratch();
    await using served = await Served.start(smallCard(), dir.file("card"));
    using control = (await HandOverControl.open(served.path))!;
    await served.end();
    await expect(control.step("activate", ID)).rejects.toBeInstanceOf(EndpointGoneError);
  });

  it("and one that ends instead of an answer", async () => {
    using dir = scratch();
    using _ = await fakeControl(dir.file("a.ctl"), ({ step }) =>
      step === "status" ? { result: STATUS } : "end",
    );
    using control = (await HandOverControl.open(dir.file("a")))!;
    await expect(control.step("give", ID)).rejects.toBeInstanceOf(EndpointGoneError);
  });

  it("one that does not answer is not gone, and is not asked any more", async () => {
    using dir = scratch();
    using server = await fakeControl(dir.file("a.ctl"), ({ step }) =>
      step === "status" ? { result: STATUS } : undefined,
    );
    using control = (await HandOverControl.open(dir.file("a"), undefined, 50))!;
    await expect(control.step("activate", ID)).rejects.toMatchObject({ code: "ETIMEDOUT" });
    // A late answer to the first would be taken for the answer to the second.
    await expect(control.step("discard", ID)).rejects.toMatchObject({ code: "ETIMEDOUT" });
    await expect(control.status()).rejects.not.toBeInstanceOf(EndpointGoneError);
    expect(server.requests).toEqual(["status", "activate"]);
  });
});
