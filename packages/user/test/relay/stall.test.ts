/** A server behind a relay that is there, and does not answer. */

import { expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { BAR_REGISTERS, VALUE } from "../server/support.js";
import { Place } from "./support.js";

const bytesOf = (value: number): Uint8Array => Uint8Array.from([value, 0, 0, 0]);

function gate(): { closed: Promise<void>; open: () => void } {
  let open!: () => void;
  const closed = new Promise<void>((resolve) => (open = resolve));
  return { closed, open };
}

it("a server that hangs: requests fail within --reply-within, those after it at once, until it answers again", async () => {
  const place = new Place();
  const server = await place.server();
  const relay = place.relay(server.path, { replyLimit: 1500 });
  const client = await place.client();
  const hang = gate();
  server.fn.resetGate = hang.closed;
  await expect(client.reset()).rejects.toMatchObject({ code: "EIO" });
  await expect(client.regionRead(BAR_REGISTERS, VALUE, bytesOf(0))).rejects.toMatchObject({ code: "EIO" });
  expect(relay.status.underWay).toBe(1); // the server still owes an answer, which nobody waits for
  // What asks for no answer is not lost: it waits for the server.
  await client.regionPost(BAR_REGISTERS, VALUE, bytesOf(7));
  expect(place.log.filter((line) => line.includes("has not answered within 1500 ms"))).toHaveLength(1);

  hang.open();
  await expect.poll(() => place.log.some((line) => line.includes("answers again"))).toBe(true);
  const into = bytesOf(0);
  await client.regionRead(BAR_REGISTERS, VALUE, into);
  expect(into[0]).toBe(7);
  expect(relay.status.underWay).toBe(0);
});

it("a server that does not even answer VERSION: the client is told in time", async () => {
  const place = new Place();
  const server = await place.server();
  place.relay(server.path, { replyLimit: 1500 });
  // Opening the device waits for this lock.
  const task = new Task("hog");
  await server.device.set.lock.lock(task);
  await expect(place.client()).rejects.toMatchObject({ code: "ETIMEDOUT" });
  server.device.set.lock.unlock(task);
});
